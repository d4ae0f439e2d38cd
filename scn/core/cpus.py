"""How many CPUs this process may use."""

import os

from scn.core.control_group import processors


def cpu_count() -> int:
    """Number of CPUs that this process may use: of the machine, its affinity, its control group; 1 at least."""
    limit = processors()
    return usable() if limit is None else max(1, min(usable(), int(limit)))


def usable() -> int:
    """Number of CPUs of the machine that this process's affinity allows; its control group may give less time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
