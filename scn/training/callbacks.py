"""What a run tells whoever watches it: one protocol from the loop to the screen."""

from dataclasses import dataclass
from typing import Protocol

from scn.training.validation import Validated

Row = dict[str, float]
"""A point of the curves: step, loss, grad_norm, learning_rate; data_time and step_time in seconds per step,
patches_per_second, memory_mib (peak so far, of the GPU where there is one)."""


class Callbacks(Protocol):
    """What the loop calls, each method on the ranks that it names."""

    def on_resume(self, step: int) -> None:
        """Called once on rank 0, before anything else, if a checkpoint was found: `step` steps are done."""

    def on_log(self, row: Row) -> None:
        """Called on rank 0 every `run.log_every` steps; after `on_resume` also for every point before."""

    def on_validation(self, step: int, result: Validated) -> None:
        """Called on rank 0 after a validation; after `on_resume` also for those before, without their samples."""

    def on_checkpoint(self, step: int) -> None:
        """Called on every rank, equally often, after a checkpoint."""


class Silent:
    """Callbacks that do nothing: those of ranks that nobody watches."""

    def on_resume(self, step: int) -> None:
        pass

    def on_log(self, row: Row) -> None:
        pass

    def on_validation(self, step: int, result: Validated) -> None:
        pass

    def on_checkpoint(self, step: int) -> None:
        pass


@dataclass(frozen=True)
class Resumed:
    """on_resume, on its way to another process."""

    step: int

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_resume(self.step)


@dataclass(frozen=True)
class Logged:
    """on_log, on its way to another process."""

    row: Row

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_log(self.row)


@dataclass(frozen=True)
class Measured:
    """on_validation, on its way to another process."""

    step: int
    result: Validated

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_validation(self.step, self.result)


@dataclass(frozen=True)
class Saved:
    """on_checkpoint, on its way to another process."""

    step: int

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_checkpoint(self.step)


Event = Resumed | Logged | Measured | Saved
