"""The environment of the programs that flows/ starts: those of this installation, and quiet ones."""

import os
import sys
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Nothing that a flow starts reports to anybody."""


def base_environment() -> dict[str, str]:
    """This process's environment, quiet, where `dvc`, `scn` and `data-prep` are those beside this Python."""
    return {**os.environ, **QUIET, "PATH": _in_front(str(Path(sys.executable).parent), "PATH")}


def stage_environment(workspace: Path) -> dict[str, str]:
    """The environment of DVC and the stages in `workspace`, a clone of the project."""
    return {
        **base_environment(),
        # The code of the clone, not that of the working copy which is installed: only that is what was committed.
        "PYTHONPATH": _in_front(str(workspace), "PYTHONPATH"),
        "PYTHONUNBUFFERED": "1",  # a line appears in the log when it was written
        # DVC keeps an index per workspace, by default outside of it where nobody would remove it.
        "DVC_SITE_CACHE_DIR": str(workspace / ".dvc" / "tmp" / "site"),
    }


def _in_front(entry: str, variable: str) -> str:
    return os.pathsep.join(filter(None, [entry, os.environ.get(variable)]))
