"""In which precision a network computes."""

import platform
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context for a network's forward pass; "bfloat16" is autocast where the device computes in it.

    Elsewhere a CPU would take ten to a hundred times as long for a less exact result: there it is float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computed(device, precision) == "bfloat16")


def computed(device: torch.device, precision: Precision) -> Precision:
    """The precision that a device computes in when asked for `precision`."""
    return precision if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are no slower than in float32 there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or "AVX512" in torch.backends.cpu.get_cpu_capability().upper()
