"""The training loop, in plain PyTorch; whoever starts it says which process of how many it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from scn.config import Experiment, digest
from scn.data import Patches
from scn.errors import UserError
from scn.manifest import Manifest
from scn.models import build
from scn.precision import autocast
from scn.samples import read_samples, whole_images
from scn.storage import Store
from scn.training.checkpoint import Checkpoints

Row = dict[str, float]
"""A point of the curves: step, loss, learning_rate, and data_time and step_time in seconds per step."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Which process of a distributed run this one is, and where it computes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: the experiment and the data that name it, and the store that keeps its checkpoints."""

    experiment: Experiment
    manifest: Manifest
    store: Store

    @property
    def steps(self) -> int:
        return self.experiment.train.steps(self.manifest.train.images)

    def identity(self) -> dict[str, Any]:
        """What decides the weights that the run ends with."""
        return {
            "architecture": self.experiment.architecture(),
            "train": self.experiment.train.identity(),
            "task": self.experiment.task_name,
            "level": self.experiment.level,
            "manifest": self.manifest.sha256,
        }

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(store=self.store, experiment=self.experiment.name, run_id=digest(self.identity())[:16])


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop tells its surroundings."""

    resumed: Callable[[int], None] = lambda step: None
    """Once, if a checkpoint was found: the steps that are done."""
    logged: Callable[[Row], None] = lambda row: None
    """Every `log_every` steps, on rank 0; on resuming also for every point before."""
    saved: Callable[[int], None] = lambda step: None
    """After each checkpoint, on every rank equally often."""


def train(run: Run, world: World, hooks: Hooks) -> None:
    """Trains from the newest checkpoint, where there is one, to the checkpoint after the last step.

    N steps give the same weights, bit for bit on a CPU, as k steps, a kill and N - k steps.

    Raises:
        UserError: if the loss is not finite (the step is not taken), a shard is damaged, an image is smaller than a
            patch, or the store fails.
    """
    config, experiment = run.experiment.train, run.experiment
    images = run.manifest.train.images
    network = build(experiment.architecture(), seed=config.seed)
    network.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    first, rows = 0, list[Row]()
    seconds, loss_sum, since = {"data": 0.0, "step": 0.0}, 0.0, 0
    if found := run.checkpoints.load(run.identity()):
        first, state = found
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        rows, seconds, loss_sum, since = state["rows"], state["seconds"], state["loss_sum"], state["since"]
        hooks.resumed(first)
        for row in rows if world.rank == 0 else []:
            hooks.logged(row)
    samples = read_samples(run.store, run.manifest.train.shards, experiment.name, experiment.level)
    patches = Patches(whole_images(samples), experiment)

    for step in range(first, run.steps):
        start = time.perf_counter()
        batch = patches.batch(step, world.rank, world.size)
        degraded = batch.input.to(world.device, memory_format=torch.channels_last)
        target = batch.target.to(world.device)
        loaded = time.perf_counter()

        rate = config.learning_rate_at(step, images)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        with autocast(world.device, config.precision):
            restored = network(degraded)
        loss = F.l1_loss(restored.float(), target)
        loss.backward()
        loss_value = _average(network, loss, world)
        if not torch.isfinite(loss_value):
            raise UserError(
                f"The loss of {experiment.name} is {loss_value.item()} in step {step} at learning rate {rate:g}: "
                "lower train.learning_rate; the last good checkpoint is kept in the store."
            )
        optimizer.step()
        loss_sum += loss_value.item()
        seconds["data"] += loaded - start
        seconds["step"] += time.perf_counter() - start

        done = step + 1
        if done % config.log_every == 0 or done == run.steps:
            n = done - since
            row = {"step": done, "loss": loss_sum / n, "learning_rate": rate}
            row |= {f"{name}_time": value / n for name, value in seconds.items()}
            rows.append(row)
            seconds, loss_sum, since = {"data": 0.0, "step": 0.0}, 0.0, done
            if world.rank == 0:
                hooks.logged(row)
        if done % config.checkpoint_every == 0 or done == run.steps:
            if world.rank == 0:
                state = {"identity": run.identity(), "rows": rows}
                state |= {"seconds": seconds, "loss_sum": loss_sum, "since": since}  # of the point to come
                state |= {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
                run.checkpoints.save(done, state)
            hooks.saved(done)


def _average(network: nn.Module, loss: Tensor, world: World) -> Tensor:
    """Averages gradients and loss over the processes: the gradients in place, the loss as the result.

    One sum over a flat buffer: parameters that the last block leaves without a gradient need no special care.
    """
    loss = loss.detach()
    if world.size == 1:
        return loss
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([loss.reshape(1), *(g.reshape(-1) for g in gradients)])
    dist.all_reduce(flat)
    flat /= world.size
    parts = flat[1:].split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return flat[0]
