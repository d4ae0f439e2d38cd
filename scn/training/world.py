"""Rank, world size and device of a process in a run, and the versions that it computes with."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from scn.core.errors import Stopped, UserError
from scn.core.version import project_version
from scn.inference.precision import Precision, kind_of

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """Rank and device of this process in a run of `world_size` processes."""

    rank: int = 0
    """Number of this process, from 0 to world_size - 1; rank 0 reports and saves."""
    world_size: int = 1
    """Number of processes of the run, on all machines."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """The device that this process computes on."""
    threads: int = field(default_factory=torch.get_num_threads)
    """Number of PyTorch's threads that this process has cores for."""


def gathered(mine: T, world: World) -> list[T]:
    """Returns the object that each rank gives, by rank; every rank has to call it."""
    if world.world_size == 1:
        return [mine]
    found: list[Any] = [None] * world.world_size
    # NCCL sends from the current GPU, which need not be the rank's.
    with torch.cuda.device(world.device) if world.device.type == "cuda" else nullcontext():
        dist.all_gather_object(found, mine)
    return found


def on_every_rank(world: World, do: Callable[[], T]) -> T:
    """Calls `do` on every rank and returns its result; a UserError of any rank is raised on all: none waits for it.

    Every rank has to call it.
    """
    if world.world_size == 1:
        return do()
    found: list[T] = []
    failure: UserError | None = None
    try:
        found.append(do())
    except UserError as error:
        failure = error
    for failed in gathered(failure, world):
        if failed:
            raise failed
    return found[0]


def on_rank_0(world: World, do: Callable[[], T]) -> T:
    """Calls `do` on rank 0 and returns its result on every rank; an error is raised on every rank too.

    Every rank has to call it.
    """
    if world.world_size == 1:
        return do()
    answer: list[Any] = [None, None]
    if world.rank == 0:
        try:
            answer[0] = do()
        except (Stopped, UserError) as error:
            answer[1] = error
        except Exception as error:  # whatever it is, the others must not wait for ever
            answer[1] = RuntimeError(f"{type(error).__name__} on rank 0: {error}")
    dist.broadcast_object_list(answer, device=world.device)
    if answer[1] is not None:
        raise answer[1]
    result: T = answer[0]
    return result


def versions(device: torch.device, precision: Precision) -> dict[str, str]:
    """Returns the versions of the project and PyTorch and the kind of device, which may change bits of a result.

    Args:
        precision: the one that the device computes in.
    """
    return {"scn": project_version(), "torch": str(torch.__version__), "device": kind_of(device, precision)}
