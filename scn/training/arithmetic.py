"""How a run computes where its recipe leaves that open: chosen at its start and kept to its end, for the same bits."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from scn.config.params import Experiment
from scn.training.world import World


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """What a run's bits depend on besides its identity and the kind of its processors; part of every checkpoint."""

    threads: int
    """Number of PyTorch's threads in each process."""
    compiled: bool
    """True if torch.compile compiles the network."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Arithmetic | None":
        """Returns that of a checkpoint's state; None if it has none."""
        recorded = state.get("arithmetic")
        return cls(**recorded) if recorded else None

    def state(self) -> dict[str, Any]:
        """Returns the part of a checkpoint that `of` reads."""
        return asdict(self)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Context manager in which PyTorch has this number of threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{threads}, compiled" if self.compiled else threads


def chosen(experiment: Experiment, world: World) -> Arithmetic:
    """Chooses how a new run computes."""
    return Arithmetic(threads=fixed_threads(experiment) or world.threads, compiled=experiment.run.compile is True)


def fixed_threads(experiment: Experiment) -> int | None:
    """Returns the number of threads that the recipe fixes; None if it is the launch's to choose."""
    return experiment.train.threads or (1 if experiment.train.lanes else None)
