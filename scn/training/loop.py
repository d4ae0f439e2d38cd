"""The training loop, in plain PyTorch; the caller gives it rank and world size."""

import math
import resource
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors

from scn.config.params import Experiment
from scn.core.cpus import machine
from scn.core.errors import Stopped, UserError
from scn.core.memory import NoRoom, room_for
from scn.data import open_feed
from scn.data.cache import cache_folder
from scn.inference.precision import computed
from scn.shards.manifest import EvaluationManifest, TrainingManifest
from scn.storage.base import Store, StoreError
from scn.storage.lease import LeaseLost
from scn.storage.patience import Patience, PatientStore
from scn.training.arithmetic import Arithmetic, check_compiler, chosen
from scn.training.callbacks import Callbacks, Row
from scn.training.checkpoint import Checkpoints
from scn.training.identity import identity
from scn.training.learner import Learner, deterministic
from scn.training.validation import Validated, Validation
from scn.training.world import World, gathered, on_every_rank, on_rank_0, versions


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: experiment, data, and the places where its checkpoints are kept."""

    experiment: Experiment
    manifest: TrainingManifest
    evaluation: EvaluationManifest | None
    """The evaluation sets that validations measure; None: the run has no validations."""
    store: Store
    root: Path
    """The project's folder; checkpoints and cached shards lie in its folder .scn, on every machine."""
    start_sha256: str | None = None
    """SHA-256 of the weights to start from; None: random weights."""
    launch: str = ""
    """Id of the launch that holds the run's lease (scn.storage.lease); empty: there is no lease."""

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.experiment.train.steps(self.manifest.images)

    @property
    def start(self) -> str:
        """The store's key of the weights to start from, beside the run's checkpoints; empty: random weights."""
        if self.start_sha256 is None:
            return ""
        return f"runs/{self.experiment.name}/{self.checkpoints.run_id}/start-{self.start_sha256[:16]}.safetensors"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the weights that the run ends with, see scn.training.identity."""
        chosen_by = self.evaluation.sha256 if self.evaluation else None
        return identity(self.experiment, self.manifest, self.start_sha256, chosen_by)

    @cached_property
    def patience(self) -> Patience:
        """How long, and how, this process waits for the store when it fails."""
        return Patience(self.store.url, self.experiment.run.store_timeout_s)

    @cached_property
    def patient_store(self) -> Store:
        """The store, asked again while it fails."""
        return PatientStore(self.store, self.patience)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints, on this machine and in the store."""
        return Checkpoints(
            store=self.store,
            folder=self.root / ".scn" / "runs",
            experiment=self.experiment.name,
            identity=self.identity,
            keep=self.experiment.run.keep_checkpoints,
            patience=self.patience,
            launch=self.launch,
        )


@dataclass(kw_only=True)
class History:
    """The points of a run's curves so far, and what made them; part of every checkpoint."""

    columns: dict[str, "array[float]"] = field(default_factory=dict)
    """The points of the training curves, in order: of each key of Row the values."""
    validations: list[dict[str, Any]] = field(default_factory=list)
    """One dict per validation: step; psnr and degraded as in scn.training.validation.Validated."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sums over the steps since the last point, from which the next one is made; n is their number."""
    made_by: list[dict[str, Any]] = field(default_factory=list)
    """One dict for each change of code, versions or device: step (the first one done by it), code_sha256, versions."""
    machines: list[str] = field(default_factory=list)
    """The machines that rank 0 has computed on, each once, in order."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "History":
        """Returns the history that a checkpoint holds: what `state` returned, in older ones with a list of rows."""
        about = {"machines": ["a machine that was not noted"], **state}
        rows = about.pop("rows", [])
        if isinstance(rows, list):
            rows = {
                name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in next(iter(rows), ())
            }
        return cls(columns={name: array("d", values.tolist()) for name, values in rows.items()}, **about)

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint holds: the rows, which may be 100,000, as a float64 tensor for each column."""
        about = {key: value for key, value in vars(self).items() if key != "columns"}
        return {"rows": {name: torch.from_numpy(np.array(column)) for name, column in self.columns.items()}, **about}

    @property
    def rows(self) -> list[Row]:
        """The points of the training curves, in order, of each what is known of it."""
        points = [dict(zip(self.columns, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]
        return [{name: value for name, value in point.items() if not math.isnan(value)} for point in points]

    def add(self, **values: float) -> None:
        """Adds the values of one step to the sums."""
        for name, value in {**values, "n": 1}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def note(self, step: int, code_sha256: str, versions: dict[str, str], machine: str) -> None:
        """Notes code, versions, device and machine of the steps from `step` on, unless they are noted already."""
        made_by = {"code_sha256": code_sha256, "versions": versions}
        if not self.made_by or {**self.made_by[-1], "step": 0} != {**made_by, "step": 0}:
            self.made_by.append({"step": step, **made_by})
        self.machines = list(dict.fromkeys([*self.machines, machine]))

    def point(self, step: int, rate: float, batch: int) -> Row:
        """Adds a new point, of means over the steps since the last one, and returns it; `batch` is the batch size."""
        n = self.sums.pop("n")
        means = {name: value / n for name, value in self.sums.items()}
        self.sums = {}
        row = {"step": step, "learning_rate": rate, **means, "patches_per_second": batch / means["step_time"]}
        earlier = max(map(len, self.columns.values()), default=0)
        for name in {**self.columns, **row}:  # other code, which began the run, may have noted others: NaN
            self.columns.setdefault(name, array("d", [math.nan]) * earlier).append(row.get(name, math.nan))
        return row


def train(run: Run, world: World, callbacks: Callbacks, stop_reason: Callable[[], str]) -> None:
    """Trains from the newest checkpoint, or from the start, until the checkpoint after the last step is stored.

    N steps give the same weights, bit for bit on a CPU, as k steps, a kill and N - k steps. Every rank must call
    it; all ranks end in the same way.

    Args:
        stop_reason: called in each step, on every rank; returns why the run should stop now, or an empty string.
    Raises:
        Stopped: if `stop_reason` gave a reason on any rank; a checkpoint is stored.
        UserError: if loss or gradient are not finite (the step is not taken), a shard is damaged, or an image is
            smaller than a patch.
        StoreError: if the store has failed for longer than run.store_timeout_s; a checkpoint of the steps done until
            then is on this machine's disk.
    """
    try:
        with run.patience.within(callbacks.on_notice, stop_reason):
            _resume(run, world, callbacks, stop_reason)
    except StoreError as error:
        if why := stop_reason():  # which ends the wait for a store
            name = run.experiment.name
            raise Stopped(f"{name}: stopped ({why}); the same command goes on from its last checkpoint") from error
        raise


def _resume(run: Run, world: World, callbacks: Callbacks, stop_reason: Callable[[], str]) -> None:
    """Finds the newest checkpoint, and trains in the way that it, or else the choice of now, says."""
    found = on_rank_0(world, run.checkpoints.load)
    how, why = Arithmetic.of(found[1]) if found else None, ""
    if how is None:
        mine = chosen(run.experiment, world, run.steps)  # which asks all ranks for their compilers
        how, why = on_rank_0(world, lambda: mine)
    elif run.experiment.run.compile not in ("auto", how.compiled):
        why = f"{'compiled' if how.compiled else 'not compiled'}, as it began: run.compile decides for runs that begin"
    check_compiler(how, world)
    with how.in_force(), deterministic(world.device, run.experiment.run.deterministic):
        _train(run, world, callbacks, stop_reason, found, how, why)


def _train(
    run: Run,
    world: World,
    callbacks: Callbacks,
    stop_reason: Callable[[], str],
    found: tuple[int, dict[str, Any]] | None,
    how: Arithmetic,
    why: str,
) -> None:
    experiment, config, run_config = run.experiment, run.experiment.train, run.experiment.run
    images, leads = run.manifest.images, world.rank == 0
    first = 0  # steps that an earlier process has done
    kept: int | None = None  # those in the newest checkpoint
    rhythm = config.take_best_every or run_config.validate_every
    store, evaluation = run.patient_store, run.evaluation if rhythm else None
    cache = cache_folder(run.root)

    def begin() -> tuple[Learner, Validation | None]:
        learner = Learner(experiment, world, compiled=how.compiled)
        if found:
            with room_for(learner.no_room["weights"]):
                learner.load(found[1])
        elif run.start:
            learner.start_from(load_safetensors(store.get(run.start)), experiment.start_from or run.start)
        return learner, Validation(experiment, evaluation, store, world.device, cache=cache) if evaluation else None

    (learner, validation), history = on_every_rank(world, begin), History()

    def validate(step: int) -> float | None:
        done = any(record["step"] == step for record in history.validations)  # by an earlier process
        if validation is None or done or (step % rhythm and step != run.steps):
            return None
        try:
            result = validation(learner.result, world.rank, world.world_size)
        except UserError as error:
            raise given_up(step, error) from None
        history.validations.append({"step": step, "psnr": result.psnr, "degraded": result.degraded})
        if leads:
            callbacks.on_validation(step, result)
        return result.score

    def save(step: int, score: float | None) -> None:
        state = {**learner.state(), "arithmetic": how.state(), "history": history.state()} if leads else {}
        nonlocal kept
        on_rank_0(world, lambda: run.checkpoints.save(step, state, score))
        kept = step
        callbacks.on_checkpoint(step)

    def given_up(step: int, error: UserError, *, begun: bool = False) -> UserError:
        """Keeps the steps done, unless the run is another's; returns the error with what is kept.

        Args:
            begun: memory did not suffice in the midst of the next step.
        """
        if isinstance(error, LeaseLost):
            return error
        # Patches of a step that was begun have changed the statistics of batch normalisation.
        if step > (kept or 0) and (experiment.model.splits_batches or not begun):
            save(step, None)
        if isinstance(error, StoreError):
            return on_rank_0(world, lambda: run.checkpoints.failed(error))
        with suppress(UserError):  # they are on the local disk in any case
            on_rank_0(world, run.checkpoints.wait)
        return error if kept is None else UserError(f"{str(error).removesuffix('.')}; {_left(kept)}.")

    about = versions(world.device, precision := computed(world.device, config.precision))
    told = _devices(world, about["device"], how)
    if leads:
        callbacks.on_start(f"{told}; {why}" if why else told)
    if found:
        first, state = found
        kept = first
        history = History.of(state["history"])
        if leads:
            _tell_again(first, history, callbacks)
    score = validate(first)  # if an earlier process has not, for want of the store
    if score is not None and (first or (run.start and config.take_best_every)):
        save(first, score)  # the best weights may be those that a run starts from
    computes = {**about, "device": f"{about['device']}, {precision}, {how}"}
    gpu = [about["device"]] if world.device.type == "cuda" else []
    history.note(first, run.identity["code_sha256"], computes, ", ".join([*gpu, machine()]))

    share = {"rank": world.rank, "world_size": world.world_size}
    opened = on_every_rank(
        world, lambda: open_feed(store, run.manifest, experiment, world.device, cache=cache, **share)
    )
    with closing(opened) as feed, run.patience.ending():
        if first < run.steps:
            on_every_rank(world, lambda: feed.prepare(first))  # so that reading the images is in no step's time
        for step in range(first, run.steps):
            start = time.perf_counter()
            away: UserError | None = None
            why = ""
            try:
                why = stop_reason()
                batch = feed.batch(step)
            except UserError as error:  # the others must not wait for this rank
                batch, away = feed.blank(), error
            loaded = time.perf_counter()
            rate = config.learning_rate_at(step, images)
            loss, ahead = config.loss_at(step, images), partial(feed.draw, step + 1)
            try:
                result = learner.step(batch, loss, rate, stopping=bool(why), abandon=away, meanwhile=ahead)
            except UserError as error:
                raise given_up(step, error, begun=isinstance(error, NoRoom) and error is not away) from None
            if not result.finite:
                seen = ", ".join(sorted(set().union(*gathered(feed.images(step), world))))
                with suppress(UserError):  # as above
                    on_rank_0(world, run.checkpoints.wait)
                raise UserError(
                    f"The loss of {experiment.name} is {result.loss} and its gradient {result.grad_norm} in step "
                    f"{step} at learning rate {rate:g}, on patches of {seen}: lower train.learning_rate or set "
                    f"train.max_grad_norm; {_left(kept)}."
                )
            now = time.perf_counter()
            history.add(loss=result.loss, grad_norm=result.grad_norm, data_time=loaded - start, step_time=now - start)
            done = step + 1
            if done % run_config.log_every == 0 or done == run.steps:
                row = history.point(done, rate, config.batch_size)
                if leads:
                    callbacks.on_log({**row, "memory_mib": _memory_mib(world.device)})
            score = validate(done)
            if done % run_config.checkpoint_every == 0 or done == run.steps or score is not None or result.stopping:
                save(done, score)
            if result.stopping and done < run.steps:
                on_rank_0(world, run.checkpoints.wait)
                raise Stopped(
                    f"{experiment.name}: stopped after step {done} of {run.steps} ({why or 'in another process'}); "
                    "the same command goes on from there"
                )
    on_rank_0(world, run.checkpoints.wait)


def _left(kept: int | None) -> str:
    """What a run that ends leaves, as a part of a sentence: the checkpoint of step `kept`, if there is one."""
    return "there is no checkpoint yet" if kept is None else f"the checkpoint of step {kept} is kept"


def _tell_again(first: int, history: History, callbacks: Callbacks) -> None:
    """Repeats what an earlier process has reported, so that the curves begin where the run began."""
    callbacks.on_resume(first, history.rows)
    for record in history.validations:
        callbacks.on_validation(record["step"], Validated(psnr=record["psnr"], degraded=record["degraded"], samples=[]))


def _devices(world: World, kind: str, how: Arithmetic) -> str:
    """The devices of all ranks, of which this one's is `kind`, and how they compute, as text."""
    ranks = gathered((socket.gethostname(), kind), world)
    kinds = " and ".join(f"{count} x {kind}" for kind, count in Counter(kind for _, kind in ranks).items())
    nodes = len({node for node, _ in ranks})
    return f"{kinds}{f' on {nodes} nodes' if nodes > 1 else ''}, {how}{' each' if world.world_size > 1 else ''}"


def _memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # which Linux counts in KiB
