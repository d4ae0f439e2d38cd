"""Environment variables for flows and the programs that they start: those of this installation, without telemetry."""

import os
import sys
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables that switch off the telemetry of every program that a flow starts."""
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Seconds between two signs of life of a flow run, unless they are set; by default as many as make it a dead one."""


def base_environment() -> dict[str, str]:
    """This process's environment without telemetry; `dvc`, `scn` and `data-prep` are those beside this Python."""
    return {**HEARTBEAT, **os.environ, **QUIET, "PATH": _in_front(str(Path(sys.executable).parent), "PATH")}


def stage_environment(workspace: Path) -> dict[str, str]:
    """The environment of DVC and the stages in `workspace`, a clone of the project."""
    return {
        **base_environment(),
        # The clone's code comes before the installed working copy, which may hold changes that are not committed.
        "PYTHONPATH": _in_front(str(workspace), "PYTHONPATH"),
        "PYTHONUNBUFFERED": "1",  # so that a line appears in the log at once
        # DVC keeps an index for each workspace; by default it is outside, where nobody would remove it.
        "DVC_SITE_CACHE_DIR": str(workspace / ".dvc" / "tmp" / "site"),
    }


def _in_front(entry: str, variable: str) -> str:
    return os.pathsep.join(filter(None, [entry, os.environ.get(variable)]))
