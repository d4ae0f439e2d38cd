"""The machine and the commit that a training ran on, for its card."""

import platform
import subprocess
from pathlib import Path

from scn.core.cpus import cpu_count
from scn.core.hashing import PACKAGES

_CODE = ("scn", "data_prep")


def machine() -> str:
    """The processor's name and how many of its CPUs this process may use, as "AMD EPYC, 2 CPUs"."""
    name = platform.processor() or platform.machine()
    if (cpus := Path("/proc/cpuinfo")).is_file():
        names = [line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {cpu_count()} CPUs"


def commit() -> str | None:
    """The git commit of the project's code, with "-changed" where files of it differ; None where git knows none."""
    found = _git("rev-parse", "HEAD")
    if found is None:
        return None
    return f"{found}-changed" if _git("status", "--porcelain", "--untracked-files=no", "--", *_CODE) else found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", PACKAGES, *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
