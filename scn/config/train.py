"""The training recipe: the section `train` of params.yaml, and its schedules as functions of the step."""

import math
from typing import Literal

from pydantic import Field, model_validator

from scn.core.schema import Section


class LossConfig(Section):
    """Weights of the terms of the loss, on images in [0, 1]; a term of weight 0 is not computed."""

    l1: float = Field(default=0, ge=0)
    """Weight of the mean absolute error (SCN paper, section 4.1)."""
    smooth_l1: float = Field(default=0, ge=0)
    """Weight of the smooth L1 error: x^2 / 2 where |x| < 1, |x| - 1/2 elsewhere (replication, equation 3)."""
    mse: float = Field(default=0, ge=0)
    """Weight of the mean squared error (replication, equation 9)."""

    @model_validator(mode="after")
    def _something(self) -> "LossConfig":
        if not any(self.model_dump().values()):
            raise ValueError("no term has a weight: set l1, smooth_l1 or mse")
        return self


class TrainConfig(Section):
    """Section `train` of params.yaml: the training recipe, in which every key decides the weights.

    The defaults are those of the SCN paper (section 4.1).
    """

    # The patches of a step
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the initial weights, of the patches and of the noise."""
    batch_size: int = Field(default=16, ge=1)
    """Patches per step, over all workers."""
    patch_size: int = Field(default=48, ge=8)
    """Side of the input patches in pixels; the target's is `scale` times as long."""
    patches_per_image: int = Field(default=1000, ge=1)
    """Patches drawn per image and epoch."""
    group_mib: float | None = Field(default=None, gt=0)
    """Size of the groups that patches are sampled from, in MiB of uncompressed images. The groups change every epoch;
    two are in memory: the one in use and the next. null: one group of all images, which must fit `run.memory_mib`.
    With `lanes` every lane has images of its own, in groups of an equal part of this size, and a worker reads and holds
    those of its own lanes only: each of W workers holds the W-th part of two groups."""
    epochs: int = Field(default=40, ge=1)
    """Epochs of the whole run."""
    max_steps: int | None = Field(default=None, ge=1)
    """Number of steps after which the run ends, whatever `epochs` says. null: no limit."""

    # The optimisation
    loss: LossConfig = LossConfig(l1=1)
    """Weights of the terms of the loss."""
    late_loss: LossConfig | None = None
    """Loss after the first `hold_epochs` epochs. null: `loss` throughout."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Highest learning rate of Adam."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises in a straight line from 0 to `learning_rate`."""
    schedule: Literal["halving", "cosine", "constant"] = "halving"
    """Fall of the learning rate after `hold_epochs` epochs: by halving, along a cosine to 0 at the end, or none."""
    hold_epochs: int = Field(default=25, ge=0)
    """Epochs at the full learning rate."""
    halve_every_epochs: int = Field(default=3, ge=1)
    """Epochs from one halving to the next; the first comes so many epochs after `hold_epochs`."""
    halve_every_steps: int | None = Field(default=None, ge=1)
    """Steps from one halving to the next, in place of `hold_epochs` and `halve_every_epochs`."""
    max_grad_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient over all weights; a larger one is scaled down to it. null: no limit."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of a moving average of the weights, which is then measured and kept. null: no average."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the network; bfloat16 is autocast on devices that support it. Weights, optimizer, loss: float32."""

    # The arithmetic
    lanes: int = Field(default=0, ge=0)
    """Number of equal parts of a batch, a power of two, that are computed one by one and summed in one fixed order:
    then any number of workers that divides it gives the same weights bit for bit. 0: each worker's share at once.
    With `group_mib` the training images are dealt to the lanes."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of PyTorch in each worker, to which a cluster gives as many CPUs; the last bits of sums depend on them.
    null: 1 with `lanes`, else chosen at the start from the cores of a worker; an interrupted run goes on with it."""

    # The weights that the run ends with
    take_best_every: int | None = Field(default=None, ge=1)
    """Steps between validations; the run ends with the weights of the best one, with `start_from` maybe those that it
    began with. null: with those of the last step."""
    take_best_on: list[str] = Field(default=[])
    """Evaluation sets that these validations measure; empty: the first of `data.evaluation`."""

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
        if self.lanes & (self.lanes - 1):
            raise ValueError(f"lanes: {self.lanes} is no power of two; set it to one, or to 0 for none")
        if self.take_best_on and not self.take_best_every:
            raise ValueError("take_best_on: has no effect without take_best_every; set that too")
        return self

    @property
    def dealt_lanes(self) -> int:
        """Number of lanes that the training images are dealt to; 1: every lane's patches come from all images."""
        return max(self.lanes, 1) if self.group_mib is not None else 1

    def check(self, images: int) -> None:
        """Raises ValueError if the warm-up would not end within a run on `images` training images."""
        if self.warmup_steps >= self.steps(images):
            raise ValueError(
                f"warmup_steps: {self.warmup_steps} of {self.steps(images)} steps on {images} images: the warm-up "
                "would not end; lower it"
            )

    def cut_short(self, images: int) -> str:
        """What the recipe promises and a run on `images` training images ends before, a phrase; "" if nothing."""
        last = self.steps(images) - 1
        if self.late_loss and self.held(last, images):
            return "late_loss never comes"
        return (
            "the learning rate never falls" if self.schedule != "constant" and self._fallen(last, images) == 1 else ""
        )

    def steps(self, images: int) -> int:
        """Number of optimizer steps of the whole run on `images` training images."""
        steps = -(-self.epochs * images * self.patches_per_image // self.batch_size)
        return min(steps, self.max_steps or steps)

    def held(self, step: int, images: int) -> bool:
        """True if step `step` (from 0) lies in the first `hold_epochs` epochs on `images` training images."""
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
