"""What the end of a run offers for what it could not record works: `python -m flows.unrecorded`, or no command."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import chain
from flows.unrecorded import remember
from flows.workspace import RUNS
from scn.config.params import Params
from scn.core.errors import DiskFullError
from tests.flows.conftest import commit_all, run

BRANCHES = ["runs/sr-x2", "runs/dn-s25"]


@pytest.mark.parametrize("lost", [[], BRANCHES, BRANCHES[:1], BRANCHES[1:]])
def test_a_command_is_named_only_where_all_could_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: list[str]
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    run(project, "git", "init", "--quiet")
    (project / "file.txt").write_text("committed")
    folder = project / RUNS / "prepare-all-0b5e55ed"
    commit = commit_all(project)
    run(project, "git", "clone", "--quiet", str(project), str(folder))

    def full(workspace: Path, commit: str, branch: str, *others: Any) -> None:
        if branch in lost:
            raise DiskFullError("unrecorded.json can't be written (No space left on device): make room there.")
        remember(workspace, commit, branch, *others)

    def record(*_: Any) -> str:
        raise DiskFullError("dvc.lock can't be written (No space left on device): make room there.")

    monkeypatch.setattr(chain, "get_run_logger", lambda: logging.getLogger("flow"))
    monkeypatch.setattr(chain, "remember", full)
    monkeypatch.setattr(chain, "record", record)
    params = Params.model_construct()
    made = chain.Run(project=project, folder=folder, commit=commit, params=params, retries=0, timeout_hours=1.0)
    for branch in BRANCHES:
        assert not made.keep(branch, [], f"made for {branch}")
    told = made.told_unrecorded()
    assert "make room there): mend that, and" in told
    assert told.endswith("run it again, which makes nothing twice.")
    words = told.split("`")[1:2]
    assert words == ([] if lost else [f"python -m flows.unrecorded {made.place}"])
    if not lost:
        command = [sys.executable, *words[0].split()[1:]]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert [run(project, "git", "log", "-1", "--format=%s", branch).strip() for branch in BRANCHES] == [
            f"made for {branch}" for branch in BRANCHES
        ]
