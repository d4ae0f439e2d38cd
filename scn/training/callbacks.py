"""Callbacks that report the progress of a training run, and their calls as messages between processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # it loads PyTorch, which the process that passes messages on does without
    from scn.training.validation import Validated

Row = dict[str, float]
"""One point of the training curves: step, loss, grad_norm, learning_rate; data_time and step_time in seconds per step,
patches_per_second; memory_mib (peak so far in MiB, of the GPU where there is one). Loss, gradient norm and times are
means over the steps since the point before."""


class Callbacks(Protocol):
    """Methods that the training loop calls, each on the ranks that its description names."""

    def on_start(self, how: str) -> None:
        """Called once on rank 0, before any other method, with the devices and the way in which the run computes."""

    def on_resume(self, step: int, rows: Sequence[Row]) -> None:
        """Called once on rank 0, before any report, if the run goes on from a checkpoint after `step` steps.

        Args:
            rows: what earlier processes gave to `on_log` until then.
        """

    def on_log(self, row: Row) -> None:
        """Called on rank 0 every `run.log_every` steps and after the last step."""

    def on_validation(self, step: int, result: "Validated") -> None:
        """Called on rank 0 after each validation, which measured the weights after `step` steps.

        A resumed run first calls it again for all earlier validations, without their sample images.
        """

    def on_checkpoint(self, step: int) -> None:
        """Called on every rank, equally often, when the checkpoint after `step` steps is saved."""

    def on_notice(self, sentence: str) -> None:
        """Called on any rank, by any thread, with what the user should know while it lasts: that the store fails."""


class Silent:
    """Callbacks that do nothing, for ranks whose progress is not shown."""

    def on_start(self, how: str) -> None:
        pass

    def on_resume(self, step: int, rows: Sequence[Row]) -> None:
        pass

    def on_log(self, row: Row) -> None:
        pass

    def on_validation(self, step: int, result: "Validated") -> None:
        pass

    def on_checkpoint(self, step: int) -> None:
        pass

    def on_notice(self, sentence: str) -> None:
        pass


@dataclass(frozen=True)
class Started:
    """Message that carries a call of `on_start` to another process."""

    how: str

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_start(self.how)


@dataclass(frozen=True)
class Resumed:
    """Message that carries a call of `on_resume` to another process."""

    step: int
    rows: Sequence[Row]

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_resume(self.step, self.rows)


@dataclass(frozen=True)
class Logged:
    """Message that carries a call of `on_log` to another process."""

    row: Row

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_log(self.row)


@dataclass(frozen=True)
class Measured:
    """Message that carries a call of `on_validation` to another process."""

    step: int
    result: "Validated"

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_validation(self.step, self.result)


@dataclass(frozen=True)
class Saved:
    """Message that carries a call of `on_checkpoint` to another process."""

    step: int

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_checkpoint(self.step)


@dataclass(frozen=True)
class Noticed:
    """Message that carries a call of `on_notice` to another process."""

    sentence: str

    def deliver(self, callbacks: Callbacks) -> None:
        callbacks.on_notice(self.sentence)


Event = Started | Resumed | Logged | Measured | Saved | Noticed
