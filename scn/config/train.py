"""How a network is trained: the section `train` of params.yaml, and what of it is a function of the step."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from scn.core.schema import Section


class LossConfig(Section):
    """Weights of the terms of the loss, on images in [0, 1]; a term of weight 0 is not computed."""

    l1: float = Field(default=0, ge=0)
    """Mean absolute error (SCN paper, section 4.1)."""
    smooth_l1: float = Field(default=0, ge=0)
    """x^2 / 2 where |x| < 1, |x| - 1/2 elsewhere (replication, equation 3)."""
    mse: float = Field(default=0, ge=0)
    """Mean squared error (replication, equation 9)."""

    @model_validator(mode="after")
    def _something(self) -> "LossConfig":
        if not any(self.model_dump().values()):
            raise ValueError("no term has a weight: set l1, smooth_l1 or mse")
        return self


class TrainConfig(Section):
    """The training recipe; by default that of the SCN paper (section 4.1)."""

    # What is seen
    seed: int = Field(default=0, ge=0)
    batch: int = Field(default=16, ge=1)
    """Patches per step, over all workers."""
    patch: int = Field(default=48, ge=8)
    """Side of the input patches in pixels; the target's is `scale` times as long."""
    patches_per_image: int = Field(default=1000, ge=1)
    """Patches drawn per image and epoch."""
    epochs: int = Field(default=40, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    """Ends the run after so many steps, whatever `epochs` says."""

    # What is learnt from it
    start_from: str | None = None
    """A published model (EXPERIMENT or EXPERIMENT@vN) or a model folder whose weights are taken where they fit: those
    of x2 for all of x3 and x4 but the last layers. None: random weights."""
    loss: LossConfig = LossConfig(l1=1)
    late_loss: LossConfig | None = None
    """Takes the place of `loss` when `hold` epochs are done."""
    learning_rate: float = Field(default=1e-3, gt=0)
    warm_up: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises from 0."""
    schedule: Literal["halving", "cosine", "constant"] = "halving"
    """How the learning rate falls when `hold` epochs are done; cosine: to 0 at the end."""
    hold: int = Field(default=25, ge=0)
    """Epochs at the full learning rate."""
    halve_every: int = Field(default=3, ge=1)
    """Epochs from one halving to the next; the first comes `halve_every` epochs after `hold`."""
    halve_every_steps: int | None = Field(default=None, ge=1)
    """Steps from one halving to the next, in place of `hold` and `halve_every`."""
    clip: float | None = Field(default=None, gt=0)
    """The largest norm of the gradient over all weights; a larger one is scaled down to it."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of the moving average of the weights, which is what is measured and kept. None: no average."""
    take: Literal["last", "best"] = "last"
    """Which weights the run leaves: of its last step, or of the best validation."""

    # How it is computed
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast for the network, on devices that compute in it; weights, optimiser and loss stay float32."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a worker's patches of a step are computed in, one after the other, to need less memory."""
    channels_last: bool = True
    compile: bool = False
    """torch.compile."""
    deterministic: bool = False
    """The same bits from every run on a GPU, at some cost in speed; on a CPU they are the same in any case."""
    workers: int = Field(default=1, ge=1)
    """Processes of Ray Train; `batch` is split among them."""
    use_gpu: Literal["auto"] | bool = "auto"
    wait: int = Field(default=300, ge=0)
    """Seconds to wait for a cluster to have what the workers need."""

    # How patches come
    feed: Literal["auto", "resident", "stream"] = "auto"
    """resident: all images are in memory; stream: a part of them at a time; auto: resident if they fit `memory_mib`."""
    memory_mib: int = Field(default=12288, ge=1)
    """Of images that a worker may hold in memory, on its GPU where it has one, uncompressed."""
    cache_mib: int = Field(default=65536, ge=0)
    """Of shards that a machine keeps on its disk for `stream`."""
    loader_workers: int = Field(default=1, ge=1)
    """Readers of shards per process: there are at least `workers * loader_workers` shards, one for each."""

    # What is kept and told
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints."""
    keep: int = Field(default=2, ge=1)
    """How many of the last checkpoints are kept, besides the best one."""
    patience: int = Field(default=600, ge=0)
    """Seconds for which the store may fail before the run stops."""
    validate_every: int = Field(default=0, ge=0)
    """Steps between two validations; one comes before the first step and after the last. 0: none."""
    validate_on: list[str] = Field(default=[])
    """Of the evaluation sets; empty: the first one."""
    log_every: int = Field(default=20, ge=1)
    """Steps between two points of the curves."""

    @model_validator(mode="after")
    def _splits(self) -> "TrainConfig":
        if self.batch % (self.workers * self.accumulate):
            parts = f"{self.accumulate} parts of each of " if self.accumulate > 1 else ""
            raise ValueError(f"batch: {self.batch} can't be split evenly among {parts}{self.workers} workers")
        if self.take == "best" and not self.validate_every:
            raise ValueError("take: the best weights are known by validation only: set validate_every")
        return self

    def steps(self, images: int) -> int:
        """Optimiser steps of the whole run on `images` training images."""
        steps = -(-self.epochs * images * self.patches_per_image // self.batch)
        return min(steps, self.max_steps or steps)

    def held(self, step: int, images: int) -> bool:
        """Whether step `step` (from 0) is one of the first `hold` epochs."""
        return self._epochs_done(step, images) < self.hold

    def loss_at(self, step: int, images: int) -> LossConfig:
        """Of step `step` (from 0) on `images` training images."""
        return self.loss if self.late_loss is None or self.held(step, images) else self.late_loss

    def learning_rate_at(self, step: int, images: int) -> float:
        """Learning rate of step `step` (from 0) on `images` training images.

        "Halves every 3 epochs after the 25th" (SCN paper, section 4.1) is read as: the first halving comes when
        `hold + halve_every` epochs are done.
        """
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        return float(self.learning_rate * self._fallen(step, images))

    def _fallen(self, step: int, images: int) -> float:
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "halving":
            if self.halve_every_steps:
                return float(0.5 ** (step // self.halve_every_steps))
            return float(0.5 ** max(0, (self._epochs_done(step, images) - self.hold) // self.halve_every))
        start = max(self.warm_up, self.hold * images * self.patches_per_image // self.batch)
        share = min(max(step - start, 0) / max(self.steps(images) - start, 1), 1.0)
        return (1 + math.cos(math.pi * share)) / 2

    def _epochs_done(self, step: int, images: int) -> int:
        return step * self.batch // (images * self.patches_per_image)

    def identity(self) -> dict[str, Any]:
        """The fields that decide what the run computes, without those that only decide how it runs."""
        unseen = {"validate_every", "validate_on"} if self.take == "last" else set()
        return self.model_dump(exclude=_HOW | unseen)


_HOW = {
    *("workers", "use_gpu", "wait", "accumulate", "channels_last", "compile", "deterministic"),
    *("cache_mib", "loader_workers"),
    *("checkpoint_every", "keep", "patience", "log_every"),
}
"""Fields that change the result by rounding at most."""
