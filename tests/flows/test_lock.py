"""A dvc.lock that a kill of DVC has cut off is put back, and what it had recorded is taken up from DVC's cache."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.lock import DAMAGED, LOCK, mend_lock
from flows.stages import DVC
from flows.workspace import RUNS
from scn.core.errors import UserError
from tests.flows.conftest import MakeScratch, commit_all

TARGET = "publish@sr-x2"


def repro(project: Path) -> str:
    return subprocess.run([*DVC, "repro", TARGET], cwd=project, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("committed", "left"), [(True, 0), (False, 20)])
def test_a_lock_that_was_cut_off_loses_no_stage(make_scratch: MakeScratch, committed: bool, left: int) -> None:
    project = make_scratch("echo trained > models/${key}")
    (project / ".scn/store").mkdir(parents=True)
    lock = project / LOCK
    if committed:
        subprocess.run([*DVC, "repro", "download@mine"], cwd=project, check=True, capture_output=True)
        commit_all(project)
    before = lock.read_bytes() if committed else b""
    repro(project)
    whole = lock.read_bytes()
    lock.write_bytes(whole[:left])

    mend = subprocess.run([sys.executable, "-m", "flows.lock"], cwd=project, capture_output=True, text=True, check=True)

    assert mend.stderr.count("\n") == 1
    assert f"{lock} can't be read" in mend.stderr
    assert (lock.read_bytes() if lock.exists() else b"") == before
    assert (project / DAMAGED).read_bytes() == whole[:left]
    assert "Running stage" not in repro(project)
    assert lock.read_bytes() == whole


@pytest.mark.parametrize("what", ["os.fsync", "dvc.repo.Repo.__init__"])
def test_on_a_full_disk_a_lock_that_was_cut_off_stays_for_the_next_call(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    project = make_scratch("echo trained > models/${key}")
    (project / LOCK).write_text("schema: '2.0'\nstages: {}\n")
    commit_all(project)
    (project / LOCK).write_text("sche")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(what, full)
        with pytest.raises(UserError, match=r"dvc\.lock can't be .*No space left on device\): make room") as told:
            mend_lock(project)
    assert "\n" not in str(told.value)
    assert (project / LOCK).read_text() == "sche"
    assert mend_lock(project).startswith(f"{project / LOCK} can't be read")


def test_a_lock_that_can_be_read_or_that_git_merges_stays(make_scratch: MakeScratch) -> None:
    project = make_scratch()
    assert mend_lock(project) == ""
    for content in (b"schema: '2.0'\nstages: {}\n", b"<<<<<<< ours\nschema: '2.0'\n=======\n>>>>>>> theirs\n"):
        (project / LOCK).write_bytes(content)
        assert mend_lock(project) == ""
        assert (project / LOCK).read_bytes() == content


def test_a_lock_of_another_dvc_is_told_and_stays(make_scratch: MakeScratch) -> None:
    project = make_scratch()
    (project / LOCK).write_text("schema: '3.0'\nstages: {}\n")
    done = subprocess.run([sys.executable, "-m", "flows.lock"], cwd=project, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        f"flows: {project / LOCK} was written by another version of DVC (schema 3.0, not 2.0): put back an "
        "earlier one (`git log dvc.lock`), and run the DVC of constraints.txt.\n",
    )
    assert (project / LOCK).read_text() == "schema: '3.0'\nstages: {}\n"
    assert not (project / DAMAGED).exists()


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("default")  # Prefect's own
def test_a_run_of_a_lock_of_another_dvc_fails_with_that_sentence_and_tries_nothing(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.scn import scn

    project = make_scratch()
    (project / LOCK).write_text("schema: '3.0'\nstages: {}\n")
    commit_all(project)
    monkeypatch.chdir(project)
    monkeypatch.setattr("flows.chain.stage_task", None)  # no attempt at a stage, no retry
    state: Any = scn(experiment="sr-x2", return_state=True)
    [kept] = (project / RUNS).iterdir()
    assert (state.name, state.message) == (
        "Failed",
        f"{kept / LOCK} was written by another version of DVC (schema 3.0, not 2.0): put back an "
        "earlier one (`git log dvc.lock`), and run the DVC of constraints.txt.",
    )


def test_a_committed_lock_that_can_t_be_read_is_not_put_back(make_scratch: MakeScratch) -> None:
    project = make_scratch()
    (project / LOCK).write_text("schema: '2")
    commit_all(project)
    assert "is begun anew" in mend_lock(project)
    assert not (project / LOCK).exists()
    assert mend_lock(project) == ""


def test_a_lock_that_a_dvc_at_work_may_be_writing_stays(make_scratch: MakeScratch) -> None:
    from dvc.repo import Repo

    project = make_scratch()
    (project / LOCK).write_text("schema: '2")
    command = [sys.executable, "-m", "flows.lock"]
    with Repo(str(project)) as repo, repo.lock:
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert (project / LOCK).read_text() == "schema: '2"
