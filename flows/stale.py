"""Finds the experiments that DVC calls stale: those whose last recorded run is not of what is committed now."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.environment import stage_environment
from flows.results import branch_of, recorded
from flows.stages import DVC, stages_of
from flows.workspace import RUNS, make_workspace
from scn.config.params import Params
from scn.core.errors import UserError


def stale_experiments(project: Path, commit: str, params: Params, names: Sequence[str]) -> list[str]:
    """Returns the experiments of `names` that are not up to date at `commit`, by the branches of runs.

    The stage `look`, which always runs, says of itself if anything is new.

    Raises:
        UserError: if DVC can't tell.
    """
    (project / RUNS).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="stale-", dir=project / RUNS))
    try:
        make_workspace(project, commit, params, folder)
        found = []
        for name in names:
            if not recorded(folder, branch_of(name)):
                found.append(name)
                continue
            target = f"publish@{name}"
            _dvc(folder, "checkout", "--quiet", "--allow-missing", "--force", *stages_of(folder, target))
            changes: dict[str, list[Any]] = json.loads(_dvc(folder, "status", "--json", "--with-deps", target))
            if any(change != "always changed" for stage in changes.values() for change in stage):
                found.append(name)
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _dvc(folder: Path, *words: str) -> str:
    done = subprocess.run([*DVC, *words], cwd=folder, env=stage_environment(folder), capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(f"DVC can't tell what is stale ({lines[-1]}): run without only_stale.")
    return done.stdout
