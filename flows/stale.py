"""Finds the experiments that DVC calls stale: those whose last recorded run is not of what is committed now."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.environment import stage_environment
from flows.lock import LOCK, mend_lock
from flows.results import Warn, branch_of, push_again, push_outputs, recorded
from flows.stages import DVC, StageFailed, run_stage, stages_of
from flows.workspace import RUNS, make_workspace
from scn.config.params import Params
from scn.core.errors import UserError


def stale_experiments(
    project: Path,
    commit: str,
    params: Params,
    names: Sequence[str],
    line_written: Callable[[str], None],
    warn: Warn,
) -> list[str]:
    """Returns the experiments of `names` that are not up to date at `commit`, by the branches of runs.

    The stages `look` are run: only then DVC knows if a corpus of one's own has other images. What the branches name is
    pushed, for remotes that were away when it was made.

    Args:
        line_written: is called with what DVC prints, and which record it can't read.
        warn: is called if a remote does not take what it lacks, after which none is asked any more.
    Raises:
        UserError: if DVC can't tell.
    """
    refusals: list[str] = []

    def refused(sentence: str) -> None:
        refusals.append(sentence)
        warn(sentence)

    (project / RUNS).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="stale-", dir=project / RUNS))
    try:
        make_workspace(project, commit, params, folder)
        found = []
        for name in names:
            if not recorded(folder, branch_of(name)) or not _readable(folder, branch_of(name), line_written):
                found.append(name)
                continue
            target = f"publish@{name}"
            stages = stages_of(folder, target)
            if not refusals:
                push_again(folder, branch_of(name), refused)
                push_outputs(folder, stages, line_written, refused)
            _dvc(folder, "checkout", "--quiet", "--allow-missing", "--force", *stages)
            for look in (stage for stage in stages if stage.startswith("look@")):
                run_stage(folder, look, line_written)
            changes: dict[str, list[Any]] = json.loads(_dvc(folder, "status", "--json", "--with-deps", target))
            if any(change != "always changed" for stage in changes.values() for change in stage):
                found.append(name)
        return found
    except StageFailed as error:
        raise UserError(f"DVC can't tell what is stale ({error}): mend that and run the flow again.") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _readable(folder: Path, branch: str, line_written: Callable[[str], None]) -> bool:
    """Whether DVC can read the dvc.lock of a branch, which is in `folder`: it can't tell anything beside another."""
    try:
        readable = not mend_lock(folder)
    except UserError:  # another version of DVC wrote it
        readable = False
    if not readable:
        line_written(f"DVC can't read the {LOCK} of {branch}: its experiment counts as stale.")
    return readable


def _dvc(folder: Path, *words: str) -> str:
    done = subprocess.run([*DVC, *words], cwd=folder, env=stage_environment(folder), capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise UserError(f"DVC can't tell what is stale ({lines[-1]}): run without only_stale.")
    return done.stdout
