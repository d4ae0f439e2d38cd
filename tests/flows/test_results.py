"""What a run made comes back: the branch of runs, for two runs at once, a remote, and a new clone."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from flows.results import branch_of, push_outputs, record
from flows.stages import run_stage
from flows.workspace import find_commit, make_workspace, params_at
from scn.core.errors import UserError
from tests.flows.conftest import MakeScratch, commit_all, run

STAGES = ["download@mine", "train@sr-x2", "publish@sr-x2"]


def workspace(project: Path, folder: Path, stages: list[str]) -> str:
    """Makes a workspace with the record of a run of these stages, and returns the commit."""
    commit = find_commit(project, None)
    make_workspace(project, commit, params_at(project, commit), folder)
    lines = [f"  {stage}:\n    cmd: echo {folder.name}\n" for stage in stages]
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n" + "".join(lines))
    return commit


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


def locked(project: Path, branch: str) -> list[str]:
    from dvc.utils.serialize import parse_yaml

    return list(parse_yaml(run(project, "git", "show", f"{branch}:dvc.lock"), "dvc.lock")["stages"])


def parents(project: Path, commit: str) -> list[str]:
    return run(project, "git", "rev-list", "--parents", "-1", commit).split()[1:]


def test_a_new_clone_brings_what_a_run_made(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch("echo weights > models/${key}")
    with (project / ".dvc/config").open("a") as config:
        config.write("[core]\n    remote = local\n['remote \"local\"']\n    url = ../.scn/dvc-remote\n")
    commit_all(project)
    commit = find_commit(project, None)
    make_workspace(project, commit, params_at(project, commit), tmp_path / "one")
    for stage in STAGES:
        run_stage(tmp_path / "one", stage, print)
    made = record(project, tmp_path / "one", commit, branch_of("sr-x2"), STAGES, "sr-x2", no_warning)
    push_outputs(tmp_path / "one", STAGES, print, no_warning)
    assert locked(project, "runs/sr-x2") == sorted(STAGES)
    assert parents(project, made) == [commit]
    assert run(project, "git", "status", "--porcelain") == ""  # nothing that is checked out has changed

    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", "--branch", "runs/sr-x2", str(project), str(clone))
    with (clone / ".dvc/config.local").open("a") as config:  # the remote is a folder of the project
        config.write(f"['remote \"local\"']\n    url = {project / '.scn/dvc-remote'}\n")
    run(clone, sys.executable, "-m", "dvc", "pull", "--quiet", "--allow-missing")
    assert (clone / "models/sr-x2").read_text() == "weights\n"
    assert (clone / "published/sr-x2").read_text() == "weights\n"

    again = record(project, tmp_path / "one", commit, branch_of("sr-x2"), STAGES, "the same", no_warning)
    assert again == made  # what a run of nothing new makes is no commit


def test_runs_at_once_lose_no_stage(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    experiments = ["sr-x2", "dn-s25"]
    commits = {name: workspace(project, tmp_path / name, [STAGES[0], f"train@{name}"]) for name in experiments}
    errors: list[str] = []

    def commit(name: str, number: int) -> None:
        (tmp_path / name / "file.txt").write_text(f"{name} {number}")  # otherwise it would be no new commit
        stages = [f"train@{name}"]
        try:
            record(project, tmp_path / name, commits[name], "runs/all", stages, name, errors.append, ["file.txt"])
        except UserError as error:
            errors.append(str(error))

    def three(name: str) -> None:
        for number in range(3):
            commit(name, number)

    threads = [threading.Thread(target=three, args=(name,)) for name in experiments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert locked(project, "runs/all") == ["train@dn-s25", "train@sr-x2"]
    subjects = run(project, "git", "log", "--first-parent", "--format=%s", "runs/all").split()
    assert sorted(subjects[:6]) == ["dn-s25"] * 3 + ["sr-x2"] * 3


def test_the_branch_is_pushed_and_what_others_pushed_there_is_kept(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project, hub = make_scratch(), tmp_path / "hub.git"
    run(tmp_path, "git", "init", "--quiet", "--bare", str(hub))
    run(project, "git", "remote", "add", "origin", str(hub))
    commit = workspace(project, tmp_path / "one", STAGES[:2])
    first = record(project, tmp_path / "one", commit, "runs/sr-x2", STAGES[:1], "one", no_warning)
    assert run(hub, "git", "rev-parse", "runs/sr-x2").strip() == first

    run(project, "git", "branch", "--delete", "--force", "runs/sr-x2")  # as on another machine
    second = record(project, tmp_path / "one", commit, "runs/sr-x2", STAGES[1:2], "two", no_warning)
    assert parents(project, second) == [first, commit]
    assert run(hub, "git", "rev-parse", "runs/sr-x2").strip() == second
    assert locked(project, "runs/sr-x2") == sorted(STAGES[:2])

    run(project, "git", "remote", "set-url", "origin", "https://me:planted-0b5e55ed@127.0.0.1:1/hub.git")
    warnings: list[str] = []
    third = record(project, tmp_path / "one", commit, "runs/sr-x2", [], "three", warnings.append, ["params.yaml"])
    assert run(project, "git", "rev-parse", "runs/sr-x2").strip() == third
    assert [text.split(":")[0] for text in warnings] == [
        "origin can't be asked for runs/sr-x2",
        "runs/sr-x2 is not pushed to origin",
    ]
    assert not any("planted" in text for text in warnings)


def test_a_branch_that_is_checked_out_is_one_sentence(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    run(project, "git", "checkout", "--quiet", "-b", "runs/sr-x2")
    commit = workspace(project, tmp_path / "one", STAGES[:1])
    with pytest.raises(UserError, match=r"^runs/sr-x2 is checked out in .+: switch to another branch there "):
        record(project, tmp_path / "one", commit, "runs/sr-x2", STAGES[:1], "one", no_warning)


STUBBORN = "trap : TERM\necho $$\nwhile :; do sleep 1; done\n"
FLOW = """\
from pathlib import Path
from flows.stages import run_command
run_command(Path(), "stage", ["sh", "-c", "sh stubborn.sh 2> errors & wait"], lambda line: print(line, flush=True))
"""


def test_a_killed_run_takes_its_stage_along(tmp_path: Path) -> None:
    (tmp_path / "stubborn.sh").write_text(STUBBORN)  # the stage ends when it is asked to, what it has started doesn't
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", FLOW], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    ) as process:
        assert process.stdout is not None
        left = psutil.Process(int(process.stdout.readline()))
        process.kill()
    _, alive = psutil.wait_procs([left], timeout=60)
    assert [each.status() for each in alive] in ([], [psutil.STATUS_ZOMBIE])
