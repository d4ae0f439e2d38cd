"""What this process's control group may use: memory and processors, as a container's or a batch system's limits say."""

from collections.abc import Iterator
from pathlib import Path

SELF = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")
_NAMES = {
    2: ("memory.current", "memory.max", "inactive_file"),
    1: ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
}
"""Version of control groups -> files of the memory used and allowed, and memory.stat's name of what can be given up."""


def memory_left() -> int | None:
    """Bytes that may still be taken in this group and those that it lies in; None: no limit.

    Files that the kernel keeps in memory, and gives up when it is needed, are not counted as used.
    """
    found = []
    for version, controller in ((2, ""), (1, "memory")):
        used_name, limit_name, kept_name = _NAMES[version]
        for folder in _folders(controller):
            try:
                used, limit = int((folder / used_name).read_text()), int((folder / limit_name).read_text())
                kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                found.append(max(0, limit - used + int(kept.get(kept_name, 0))))
            except (OSError, ValueError):  # no such controller, or no limit ("max")
                continue
    return min(found, default=None)


def processors() -> float | None:
    """How many processors' time this group may use, the least of it and those that it lies in; None: no limit."""
    found = []
    for folder in _folders(""):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            found.append(int(quota) / int(period))
        except (OSError, ValueError):
            continue
    for folder in _folders("cpu"):
        try:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                found.append(int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return min(found, default=None)


def _folders(controller: str) -> Iterator[Path]:
    """The folders of this process's group and of all above it; "" is version 2, which has all controllers in one.

    In a container the group's own folder may be mounted as the root, where its path does not exist.
    """
    try:
        lines = [line.split(":", 2) for line in SELF.read_text().splitlines()]
    except OSError:
        return
    paths = [path for _, controllers, path in lines if controller in controllers.split(",")]
    roots = [MOUNTED / controller] if controller else [MOUNTED, MOUNTED / "unified"]
    for path in paths:
        for root in roots:
            below = Path(path.strip("/"))
            yield from (root / each for each in (below, *below.parents) if (root / each).is_dir())
