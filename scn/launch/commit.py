"""The commit that a training ran at, for its card."""

import subprocess

from scn.core.hashing import PACKAGES

_CODE = ("scn", "data_prep")


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
