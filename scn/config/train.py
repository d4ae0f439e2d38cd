"""The training recipe: the section `train` of params.yaml, and its schedules as functions of the step."""

import math
from typing import Literal

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
    """The training recipe, by default that of the SCN paper (section 4.1); every key decides the weights."""

    # The patches of a step
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights, of the patches and of the noise."""
    batch_size: int = Field(default=16, ge=1)
    """Patches per step, over all workers."""
    patch_size: int = Field(default=48, ge=8)
    """Side of the input patches in pixels; the target's is `scale` times as long."""
    patches_per_image: int = Field(default=1000, ge=1)
    """Patches drawn per image and epoch."""
    group_mib: float | None = Field(default=None, gt=0)
    """Images are sampled in groups of so many MiB, uncompressed, in another order every epoch; of two groups that are
    in memory one is being read. null: from all images at once, which then must fit `run.memory_mib`."""
    epochs: int = Field(default=40, ge=1)
    """Epochs of the whole run."""
    max_steps: int | None = Field(default=None, ge=1)
    """Ends the run after so many steps, whatever `epochs` says."""

    # The optimisation
    loss: LossConfig = LossConfig(l1=1)
    """Weights of the terms of the loss."""
    late_loss: LossConfig | None = None
    """Takes the place of `loss` when `hold_epochs` epochs are done."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of Adam, at its highest."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises from 0."""
    schedule: Literal["halving", "cosine", "constant"] = "halving"
    """How the learning rate falls when `hold_epochs` epochs are done; cosine: to 0 at the end."""
    hold_epochs: int = Field(default=25, ge=0)
    """Epochs at the full learning rate."""
    halve_every_epochs: int = Field(default=3, ge=1)
    """Epochs from one halving to the next; the first comes so many epochs after `hold_epochs`."""
    halve_every_steps: int | None = Field(default=None, ge=1)
    """Steps from one halving to the next, in place of `hold_epochs` and `halve_every_epochs`."""
    max_grad_norm: float | None = Field(default=None, gt=0)
    """The largest norm of the gradient over all weights; a larger one is scaled down to it."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of the moving average of the weights, which is what is measured and kept. null: no average."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast for the network, on devices that compute in it; weights, optimiser and loss stay float32."""

    # The weights that are left
    take_best_every: int | None = Field(default=None, ge=1)
    """Steps between two validations, of which the best one's weights are left. null: the weights of the last step."""
    take_best_on: list[str] = Field(default=[])
    """Evaluation sets that these validations measure; empty: the first one."""

    @model_validator(mode="after")
    def _means_what_it_says(self) -> "TrainConfig":
        falls_by_epochs = self.schedule == "halving" and self.halve_every_steps is None
        if (falls_by_epochs or self.late_loss) and self.hold_epochs >= self.epochs:
            what = "the late loss would never come" if self.late_loss else "the learning rate would never fall"
            raise ValueError(
                f"hold_epochs: {self.hold_epochs} of {self.epochs} epochs: {what}; lower it"
                + (", or set schedule to constant" * (not self.late_loss))
            )
        if self.max_steps is not None and self.warmup_steps >= self.max_steps:
            raise ValueError(
                f"warmup_steps: {self.warmup_steps} of {self.max_steps} steps (max_steps): the warm-up would not end; "
                "lower it"
            )
        if self.take_best_on and not self.take_best_every:
            raise ValueError("take_best_on: the last weights are left unless take_best_every is set")
        return self

    def check(self, images: int) -> None:
        """ValueError if the recipe can't mean what it says on `images` training images."""
        if self.warmup_steps >= self.steps(images):
            raise ValueError(
                f"warmup_steps: {self.warmup_steps} of {self.steps(images)} steps on {images} images: the warm-up "
                "would not end; lower it"
            )

    def steps(self, images: int) -> int:
        """Optimiser steps of the whole run on `images` training images."""
        steps = -(-self.epochs * images * self.patches_per_image // self.batch_size)
        return min(steps, self.max_steps or steps)

    def held(self, step: int, images: int) -> bool:
        """Whether step `step` (from 0) is one of the first `hold_epochs` epochs."""
        return self._epochs_done(step, images) < self.hold_epochs

    def loss_at(self, step: int, images: int) -> LossConfig:
        """The loss of step `step` (from 0) on `images` training images."""
        return self.loss if self.late_loss is None or self.held(step, images) else self.late_loss

    def learning_rate_at(self, step: int, images: int) -> float:
        """The learning rate of step `step` (from 0) on `images` training images.

        "Halves every 3 epochs after the 25th" (SCN paper, section 4.1) is read as: the first halving comes when
        `hold_epochs + halve_every_epochs` epochs are done.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        return float(self.learning_rate * self._fallen(step, images))

    def _fallen(self, step: int, images: int) -> float:
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "halving":
            if self.halve_every_steps:
                return float(0.5 ** (step // self.halve_every_steps))
            return float(0.5 ** max(0, (self._epochs_done(step, images) - self.hold_epochs) // self.halve_every_epochs))
        start = max(self.warmup_steps, self.hold_epochs * images * self.patches_per_image // self.batch_size)
        share = min(max(step - start, 0) / max(self.steps(images) - start, 1), 1.0)
        return (1 + math.cos(math.pi * share)) / 2

    def _epochs_done(self, step: int, images: int) -> int:
        return step * self.batch_size // (images * self.patches_per_image)
