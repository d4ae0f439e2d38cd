"""Which process of a run this one is, and what it computes with."""

from dataclasses import dataclass, field

import torch

from scn.core.version import project_version


@dataclass(frozen=True, kw_only=True)
class World:
    """Which process of a distributed run this one is, and where it computes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def versions(device: torch.device) -> dict[str, str]:
    """The versions of the project and PyTorch, and the kind of device: what bits depend on besides the code."""
    if device.type == "cuda":
        kind = torch.cuda.get_device_name(device)
    else:
        kind = f"CPU, {torch.backends.cpu.get_cpu_capability()}"
    return {"scn": project_version(), "torch": str(torch.__version__), "device": kind}
