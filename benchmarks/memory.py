"""Peak memory of a call."""

import ctypes
import ctypes.util
import gc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def peak_of_command(module: str, *arguments: str) -> float:
    """What `python -m module arguments` prints last: in a process of its own a measurement finds nothing of others."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()[-1])


def peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """What `call` needs at most beyond what is there before it, in MiB; the second time, when all is set up.

    On a GPU as PyTorch's allocator counts it; on a CPU the resident set of this process (Linux).
    """
    call()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    library.malloc_trim(0)  # what the first call left in the allocator's hands
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    call()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """In KiB."""
    found = re.search(rf"{key}:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])
