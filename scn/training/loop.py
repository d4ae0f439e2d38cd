"""The training loop, in plain PyTorch; whoever starts it says which process of how many it is."""

import resource
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load as load_safetensors

from scn.config.params import Experiment
from scn.core.errors import Stopped, UserError
from scn.core.hashing import digest
from scn.data import is_resident, open_feed
from scn.shards.manifest import Manifest
from scn.storage.base import Store
from scn.training.checkpoint import Checkpoints
from scn.training.learner import Learner, deterministic
from scn.training.validation import Validated, Validation
from scn.training.world import World

Row = dict[str, float]
"""A point of the curves: step, loss, gradient (its norm), learning_rate; data_time and step_time in seconds per step,
patches_per_second, memory_mib (peak so far, of the GPU where there is one)."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: the experiment and the data that name it, and the places that keep its checkpoints."""

    experiment: Experiment
    manifest: Manifest
    store: Store
    root: Path
    """The project's folder: checkpoints and shards lie in .scn there, on every machine."""
    start: str = ""
    """The key in the store of the weights to start from; holds their SHA-256."""

    @property
    def steps(self) -> int:
        return self.experiment.train.steps(self.manifest.train.images)

    def identity(self) -> dict[str, Any]:
        """What decides the weights that the run ends with."""
        resident = is_resident(self.manifest, self.experiment)
        # What is streamed comes in the order of the shards; otherwise only the pixels count.
        order = "" if resident else digest([shard.sha256 for shard in self.manifest.train.shards])
        return {
            "architecture": self.experiment.architecture(),
            "train": {**self.experiment.train.identity(), "start_from": self.start or None},
            "task": self.experiment.task_name,
            "level": self.experiment.level,
            "manifest": self.manifest.sha256,
            "order": order,
        }

    @cached_property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(
            store=self.store,
            folder=self.root / ".scn" / "runs",
            experiment=self.experiment.name,
            identity=self.identity(),
            keep=self.experiment.train.keep,
            patience=self.experiment.train.patience,
        )


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop tells its surroundings, and asks them."""

    resumed: Callable[[int], None] = lambda step: None
    """Once, if a checkpoint was found: the steps that are done."""
    logged: Callable[[Row], None] = lambda row: None
    """Every `log_every` steps, on rank 0; on resuming also for every point before."""
    validated: Callable[[int, Validated], None] = lambda step, result: None
    """After each validation, on rank 0; on resuming also for those before, without their samples."""
    saved: Callable[[int], None] = lambda step: None
    """After each checkpoint, on every rank equally often."""
    stopping: Callable[[], str] = lambda: ""
    """After each step, on every rank: why the run should stop now, or nothing."""


@dataclass(kw_only=True)
class History:
    """What the curves are drawn from; part of a checkpoint."""

    rows: list[Row] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    """step, psnr and degraded of each."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of the point to come, since the last one."""

    def add(self, **values: float) -> None:
        for name, value in {**values, "n": 1}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def point(self, step: int, rate: float, batch: int) -> Row:
        """The means since the last point, as a new one."""
        n = self.sums.pop("n")
        means = {name: value / n for name, value in self.sums.items()}
        self.sums = {}
        row = {"step": step, "learning_rate": rate, **means, "patches_per_second": batch / means["step_time"]}
        self.rows.append(row)
        return row


def train(run: Run, world: World, hooks: Hooks) -> None:
    """Trains from the newest checkpoint, where there is one, to the checkpoint after the last step.

    N steps give the same weights, bit for bit on a CPU, as k steps, a kill and N - k steps. Every process of `world`
    calls it; all of them end in the same way.

    Raises:
        Stopped: if `hooks.stopping` says so, when a checkpoint is stored.
        UserError: if loss or gradient are not finite (the step is not taken), a shard is damaged, an image is smaller
            than a patch, or the store fails for longer than train.patience.
    """
    with deterministic(world.device, run.experiment.train.deterministic):
        _train(run, world, hooks)


def _train(run: Run, world: World, hooks: Hooks) -> None:
    experiment, config = run.experiment, run.experiment.train
    images, leads = run.manifest.train.images, world.rank == 0
    learner, history = Learner(experiment, world), History()
    first = kept = 0  # steps that an earlier process has done, and that are in the newest checkpoint
    validation = Validation(experiment, run.manifest, run.store, world.device)

    def validate(step: int) -> float | None:
        if not config.validate_every or (step % config.validate_every and step != run.steps):
            return None
        result = validation(learner.result, world.rank, world.size)
        history.validations.append({"step": step, "psnr": result.psnr, "degraded": result.degraded})
        if leads:
            hooks.validated(step, result)
        return result.score

    def save(step: int, score: float | None) -> None:
        state = {**learner.state(), "history": vars(history)} if leads else {}
        nonlocal kept
        _on_rank_0(world, lambda: run.checkpoints.save(step, state, score))
        kept = step
        hooks.saved(step)

    if found := _on_rank_0(world, run.checkpoints.load):
        first, state = found
        kept = first
        learner.load(state)
        history = History(**state["history"])
        if leads:
            _tell_again(first, history, hooks)
    else:
        if run.start:
            learner.start_from(load_safetensors(run.store.get(run.start)), config.start_from or run.start)
        validate(0)

    with closing(open_feed(run.store, run.manifest, experiment, world.device, cache=run.root / ".scn/shards")) as feed:
        feed.prepare(min(first, run.steps - 1))  # so that reading the images is in no step's time
        for step in range(first, run.steps):
            start = time.perf_counter()
            batch = feed.batch(step, world.rank, world.size)
            loaded = time.perf_counter()
            rate = config.learning_rate_at(step, images)
            why = hooks.stopping()
            outcome = learner.step(batch, config.loss_at(step, images), rate, stopping=bool(why))
            if not outcome.finite:
                seen = ", ".join(sorted(set(feed.images(step))))
                with suppress(UserError):  # they are on the local disk in any case
                    _on_rank_0(world, run.checkpoints.wait)
                raise UserError(
                    f"The loss of {experiment.name} is {outcome.loss} and its gradient {outcome.gradient} in step "
                    f"{step} at learning rate {rate:g}, on patches of {seen}: lower train.learning_rate or set "
                    f"train.clip; {f'the checkpoint of step {kept} is kept' if kept else 'there is no checkpoint yet'}."
                )
            now = time.perf_counter()
            history.add(loss=outcome.loss, gradient=outcome.gradient, data_time=loaded - start, step_time=now - start)
            done = step + 1
            if done % config.log_every == 0 or done == run.steps:
                row = history.point(done, rate, config.batch)
                if leads:
                    hooks.logged({**row, "memory_mib": _memory_mib(world.device)})
            score = validate(done)
            if done % config.checkpoint_every == 0 or done == run.steps or score is not None or outcome.stopping:
                save(done, score)
            if outcome.stopping and done < run.steps:
                _on_rank_0(world, run.checkpoints.wait)
                raise Stopped(
                    f"{experiment.name}: stopped after step {done} of {run.steps} ({why or 'in another process'}); "
                    "the same command goes on from there"
                )
    _on_rank_0(world, run.checkpoints.wait)


def _tell_again(first: int, history: History, hooks: Hooks) -> None:
    """What an earlier process has told, so that the curves of this one begin where the run began."""
    hooks.resumed(first)
    for row in history.rows:
        hooks.logged(row)
    for record in history.validations:
        hooks.validated(record["step"], Validated(psnr=record["psnr"], degraded=record["degraded"], samples=[]))


def _on_rank_0(world: World, do: Callable[[], T]) -> T:
    """The result of `do` on rank 0, on every rank; what it raises is raised on every rank too."""
    if world.size == 1:
        return do()
    answer: list[Any] = [None, None]
    if world.rank == 0:
        try:
            answer[0] = do()
        except UserError as error:
            answer[1] = error
        except Exception as error:  # whatever it is, the others must not wait for ever
            answer[1] = RuntimeError(f"{type(error).__name__} on rank 0: {error}")
    dist.broadcast_object_list(answer, device=world.device)
    if answer[1] is not None:
        raise answer[1]
    result: T = answer[0]
    return result


def _memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # which Linux counts in KiB
