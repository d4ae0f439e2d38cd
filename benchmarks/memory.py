"""Measures the peak memory of a call."""

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
    """Runs `python -m module arguments` in a new process, whose memory is clean; returns the number it prints last."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.split()[-1])


def peak_mib(call: Callable[[], object], device: torch.device) -> float:
    """Most memory in MiB that `call` needs beyond the memory in use before, in its second run, when all is set up.

    On a GPU PyTorch's allocator counts it; on a CPU it is the resident set of this process (Linux).
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
    library.malloc_trim(0)  # returns memory that the first call has freed
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    call()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """A value of this process's /proc status in KiB."""
    found = re.search(rf"{key}:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])
