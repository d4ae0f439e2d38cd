"""How many CPUs this process may use, and their name."""

import os
import platform
from pathlib import Path

from scn.core.control_group import processors


def cpu_count() -> int:
    """Number of CPUs that this process may use: of the machine, its affinity, its control group; 1 at least."""
    limit = processors()
    return usable() if limit is None else max(1, min(usable(), int(limit)))


def usable() -> int:
    """Number of CPUs of the machine that this process's affinity allows; its control group may give less time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """The processor's name and how many of its CPUs this process may use, as "AMD EPYC, 2 CPUs"."""
    name = platform.processor() or platform.machine()
    if (cpus := Path("/proc/cpuinfo")).is_file():
        names = [line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {cpu_count()} CPUs"
