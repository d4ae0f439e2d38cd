"""How a run computes where its recipe leaves that open: chosen at its start and kept to its end, for the same bits."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.training.compiling import compiles, missing
from scn.training.world import World, gathered


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


def chosen(experiment: Experiment, world: World, steps: int) -> tuple[Arithmetic, str]:
    """Chooses how a new run of so many steps computes; returns it, and why it is compiled or not.

    Every rank has to call it, and what rank 0 is given counts: its processor decides. Under run.compile: auto nothing
    is compiled where a machine of the run can't do that; otherwise see check_compiler.
    """
    compiled, why = compiles(experiment, steps, world.device)
    lacks = next((f"{host} has no {lacking}" for host, lacking in _lacking(world) if lacking), "")
    if compiled and experiment.run.compile == "auto" and lacks:
        compiled, why = False, f"not compiled, though {steps:,} steps would pay for it: {lacks}"
    return Arithmetic(threads=fixed_threads(experiment) or world.threads, compiled=compiled), why


def check_compiler(how: Arithmetic, world: World) -> None:
    """Raises UserError on every rank if the run is compiled and a machine of it can't do that."""
    if not how.compiled:
        return
    for host, lacking in _lacking(world):
        if lacking:
            raise UserError(
                f"The run is compiled and {host} has no {lacking}: install it there, or set run.compile to false and "
                "begin anew with --no-resume."
            )


def _lacking(world: World) -> list[tuple[str, str]]:
    """Returns host and what its compiler lacks of each rank; every rank has to call it."""
    return gathered((socket.gethostname(), missing(world.device)), world)


def fixed_threads(experiment: Experiment) -> int | None:
    """Returns the number of threads that the recipe fixes; None if it is the launch's to choose."""
    return experiment.train.threads or (1 if experiment.train.lanes else None)
