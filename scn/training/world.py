"""Rank, world size and device of a process in a run, and the versions that it computes with."""

from dataclasses import dataclass, field

import torch

from scn.core.version import project_version


@dataclass(frozen=True, kw_only=True)
class World:
    """Rank and device of this process in a run of `world_size` processes."""

    rank: int = 0
    """Number of this process, from 0 to world_size - 1; rank 0 reports and saves."""
    world_size: int = 1
    """Number of processes of the run, on all machines."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """The device that this process computes on."""


def versions(device: torch.device) -> dict[str, str]:
    """Returns the versions of the project and PyTorch and the kind of device, which may change bits of a result."""
    if device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    else:
        kind = f"CPU, {torch.backends.cpu.get_cpu_capability()}"
    return {"scn": project_version(), "torch": str(torch.__version__), "device": kind}
