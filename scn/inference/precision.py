"""The precision that a network computes in: float32, or bfloat16 on a device that is fast in it."""

import platform
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Returns the context for a network's forward pass; "bfloat16" is autocast where the device is fast in it.

    On other devices it is float32: such a CPU would take ten to a hundred times as long for a less exact result.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computed(device, precision) == "bfloat16")


def computed(device: torch.device, precision: Precision) -> Precision:
    """Returns the precision that `device` computes in when asked for `precision`: it may lack bfloat16."""
    return precision if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Returns True if convolutions on `device` are no slower in bfloat16 than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or "AVX512" in torch.backends.cpu.get_cpu_capability().upper()
