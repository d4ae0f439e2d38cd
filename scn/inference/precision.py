"""The precision that a network computes in: float32, or bfloat16 on a device that is fast in it."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import Any, Literal, NamedTuple, cast

import torch

Precision = Literal["float32", "bfloat16"]


class Computation(NamedTuple):
    """How a network was computed."""

    device: str
    """Kind of the device (kind_of)."""
    precision: Precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Returns the context for a network's forward pass; "bfloat16" is autocast where the device is fast in it.

    On other devices it is float32: such a CPU would take ten to a hundred times as long for a less exact result.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=computed(device, precision) == "bfloat16")


class _Exact:
    """Who computes exactly now: PyTorch's settings are those of all threads, so the last one out puts them back."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = Lock(), 0, list[str]()


_EXACT = _Exact()


@contextmanager
def exact() -> Iterator[None]:
    """Context in which float32 is computed as float32: no TF32 or bfloat16 in its place, whatever PyTorch was told.

    PyTorch's own default is TF32, 10 bits instead of 23, for convolutions on a GPU. Threads may enter and leave in any
    order: what PyTorch was told counts again when none is inside.
    """
    backends = cast(Any, torch.backends)  # PyTorch's stubs lack these settings
    # The operations of networks here. PyTorch refuses to tell the older allow_tf32 where both kinds of settings differ.
    settings = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    with _EXACT.lock:
        if not _EXACT.inside:
            _EXACT.before = [setting.fp32_precision for setting in settings]
        for setting in settings:
            setting.fp32_precision = "ieee"
        _EXACT.inside += 1
    try:
        yield
    finally:
        with _EXACT.lock:
            _EXACT.inside -= 1
            if not _EXACT.inside:
                for setting, precision in zip(settings, _EXACT.before, strict=True):
                    setting.fp32_precision = precision


def computed(device: torch.device, precision: Precision) -> Precision:
    """Returns the precision that `device` computes in when asked for `precision`: it may lack bfloat16."""
    return precision if has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Returns True if convolutions on `device` are no slower in bfloat16 than in float32.

    AVX-512 alone does not make them so: without instructions for bfloat16 a training step takes three times as long.
    """
    if device.type == "cuda":
        if not torch.cuda.is_available():
            return False
        with torch.cuda.device(device):  # PyTorch asks the current one
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return _processor_has("avx512_bf16") or has_amx()


def has_amx() -> bool:
    """Returns True if this processor multiplies matrices of bfloat16 by AMX."""
    return _processor_has("amx_bf16")


def kind_of(device: torch.device, precision: Precision = "float32") -> str:
    """Returns the kind of a device, on which the last bits of a result depend, as text.

    Args:
        precision: the one that the device computes in: AMX changes bits in bfloat16 alone.
    Returns:
        "CPU, AVX512" or "CPU, AVX512, AMX", or a GPU's name.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    amx = ", AMX" if precision == "bfloat16" and has_amx() else ""
    return f"CPU, {torch.backends.cpu.get_cpu_capability()}{amx}"


def _processor_has(name: str) -> bool:
    # Not every version of PyTorch that is supported has this function.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get(name))
