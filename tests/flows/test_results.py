"""What a run made comes back: the branch of runs, for two runs at once, a remote, and a new clone."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import results
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
    assert [text.split(":")[0] for text in warnings] == ["runs/sr-x2 is not pushed to origin"]
    assert not any("planted" in text for text in warnings)


def test_without_a_remote_of_dvc_nothing_is_told_and_one_that_is_away_is(
    make_scratch: MakeScratch, tmp_path: Path
) -> None:
    project = make_scratch()
    run_stage(project, STAGES[0], print)
    push_outputs(project, STAGES[:1], print, no_warning)

    with (project / ".dvc/config").open("a") as config:
        config.write("[core]\n    remote = away\n['remote \"away\"']\n    url = /dev/null/away\n")
    warnings: list[str] = []
    push_outputs(project, STAGES[:1], print, warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("What was made is not in DVC's remote: Stage dvc push failed: ")


def lock_text(stages: dict[str, str]) -> str:
    entries = (f"  {name}:\n    cmd: {value}\n    outs:\n    - path: {name}\n" for name, value in stages.items())
    return "schema: '2.0'\nstages:\n" + "".join(entries)


def commands(text: str) -> dict[str, str]:
    from dvc.utils.serialize import parse_yaml

    return {name: entry["cmd"] for name, entry in parse_yaml(text, "dvc.lock")["stages"].items()}


class Lab:
    """A repository of git alone, whose main commits dvc.locks, and runs that record on it."""

    def __init__(self, root: Path) -> None:
        self.project, self.runs, self.log = root / "project", root / "runs", list[str]()
        self.project.mkdir()
        self.runs.mkdir()
        run(self.project, "git", "init", "--quiet", "--initial-branch=main")

    def commit(self, **stages: str) -> str:
        (self.project / "dvc.lock").write_text(lock_text({name.replace("__", "@"): v for name, v in stages.items()}))
        return commit_all(self.project)

    def record(self, commit: str, files: Sequence[str] = (), **made: str) -> str:
        """Records what a run of `commit` made in runs/a, in a workspace of its own."""
        own = {name.replace("__", "@"): value for name, value in made.items()}
        folder = self.runs / str(len(list(self.runs.iterdir())))
        run(self.runs, "git", "clone", "--quiet", str(self.project), str(folder))
        run(folder, "git", "checkout", "--quiet", "--detach", commit)
        (folder / "dvc.lock").write_text(lock_text(commands((folder / "dvc.lock").read_text()) | own))
        return record(self.project, folder, commit, "runs/a", list(own), "run", self.log.append, files)

    def stages(self, ref: str = "runs/a") -> dict[str, str]:
        return commands(run(self.project, "git", "show", f"{ref}:dvc.lock"))

    def merge(self, ref: str = "runs/a") -> None:
        who = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
        run(self.project, "git", *who, "merge", "--quiet", "--no-edit", ref)


def test_what_main_says_of_other_experiments_is_as_the_commit_has_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    first = lab.commit(download__s="s0", evaluate__gone="g0", train__a="a0", train__b="b0")
    lab.record(first, train__a="a1", publish__a="p1")
    second = lab.commit(download__s="s0", train__a="a0", train__b="b9")  # retrained and removed by hand
    lab.record(second, train__a="a2")
    # Of its own runs the branch keeps what this one did not make, and of the commit everything else.
    assert lab.stages() == {"download@s": "s0", "train@a": "a2", "train@b": "b9", "publish@a": "p1"}
    assert list(lab.stages())[:3] == ["download@s", "train@a", "train@b"]  # in main's order, for `git merge`

    lab.record(first, train__a="a3")  # of an older commit: what is newer stays
    assert lab.stages() == {"download@s": "s0", "train@a": "a3", "train@b": "b9", "publish@a": "p1"}

    lab.commit(download__s="s0", train__a="a0", train__b="b10")
    lab.merge()
    assert lab.stages("main") == {"download@s": "s0", "train@a": "a3", "train@b": "b10", "publish@a": "p1"}


def test_where_both_have_changed_a_stage_the_branch_is_right(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.record(lab.commit(shard__a="s0", train__a="a0"), shard__a="s1", train__a="a1")
    lab.record(lab.commit(shard__a="s9", train__a="a9"), train__a="a2")
    assert lab.stages() == {"shard@a": "s1", "train@a": "a2"}


def test_merges_both_ways_have_several_bases_and_take_nothing_back(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.record(lab.commit(shard__a="s0", train__a="a0", train__b="b0"), shard__a="s1", train__a="a1")
    second = lab.commit(shard__a="s0", train__a="a0", train__b="b9")
    lab.merge()  # main takes the first run, and the second run main's second commit
    lab.record(second, train__a="a2")
    third = lab.commit(shard__a="s1", train__a="a1", train__b="b10")
    assert len(run(lab.project, "git", "merge-base", "--all", "runs/a", third).split()) == 2
    lab.record(third, publish__a="p3")
    assert lab.stages() == {"shard@a": "s1", "train@a": "a2", "train@b": "b10", "publish@a": "p3"}


def test_two_tips_are_compared_with_where_they_parted(tmp_path: Path) -> None:
    lab, hub = Lab(tmp_path), tmp_path / "hub.git"
    run(tmp_path, "git", "init", "--quiet", "--bare", str(hub))
    run(lab.project, "git", "remote", "add", "origin", str(hub))
    commit = lab.commit(shard__a="s0", train__a="a0", train__b="b0")
    first = lab.record(commit, shard__a="s1", train__a="a1")
    there = lab.record(commit, train__a="a2")  # another machine's
    run(lab.project, "git", "update-ref", "refs/heads/runs/a", first)
    run(lab.project, "git", "remote", "set-url", "origin", str(tmp_path / "away"))
    here = lab.record(commit, shard__a="s3")  # while the remote was away
    run(lab.project, "git", "remote", "set-url", "origin", str(hub))
    made = lab.record(lab.commit(shard__a="s0", train__a="a0", train__b="b9"), publish__a="p4")
    assert set(parents(lab.project, made)) > {here, there}
    assert lab.stages() == {"shard@a": "s3", "train@a": "a2", "train@b": "b9", "publish@a": "p4"}


def test_a_push_that_another_machine_was_faster_than_is_made_again_on_top_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, hub = Lab(tmp_path), tmp_path / "hub.git"
    commit = lab.commit(shard__a="s0", train__a="a0")
    theirs = lab.record(commit, shard__a="s1")
    run(lab.project, "git", "branch", "--delete", "--force", "runs/a")
    run(tmp_path, "git", "init", "--quiet", "--bare", str(hub))
    run(lab.project, "git", "remote", "add", "origin", str(hub))

    def meanwhile(*arguments: Any) -> str:
        if not run(hub, "git", "branch", "--list", "runs/a"):
            run(lab.project, "git", "push", "--quiet", "origin", f"{theirs}:refs/heads/runs/a")
        return make(*arguments)

    make = results._commit
    monkeypatch.setattr(results, "_commit", meanwhile)
    made = lab.record(commit, train__a="a2")
    assert lab.log == []
    assert run(hub, "git", "rev-parse", "runs/a").strip() == made
    assert theirs in parents(lab.project, made)
    assert lab.stages() == {"shard@a": "s1", "train@a": "a2"}


def test_without_the_history_where_they_parted_all_of_the_branch_is_kept(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.record(lab.commit(train__a="a0", train__b="b0"), train__a="a1")
    run(lab.project, "git", "checkout", "--quiet", "--orphan", "another")
    lab.record(lab.commit(train__a="a0", train__b="b9", train__c="c9"), publish__a="p1")
    assert lab.stages() == {"train@a": "a1", "train@b": "b0", "train@c": "c9", "publish@a": "p1"}


def test_a_branch_that_is_checked_out_is_one_sentence(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    run(project, "git", "checkout", "--quiet", "-b", "runs/sr-x2")
    commit = workspace(project, tmp_path / "one", STAGES[:1])
    with pytest.raises(UserError, match=r"^runs/sr-x2 is checked out in .+: switch to another branch there\.$"):
        record(project, tmp_path / "one", commit, "runs/sr-x2", STAGES[:1], "one", no_warning)


def test_a_branch_that_is_called_runs_is_in_the_way_and_one_sentence(tmp_path: Path) -> None:
    lab, hub = Lab(tmp_path), tmp_path / "hub.git"
    run(tmp_path, "git", "init", "--quiet", "--bare", str(hub))
    run(lab.project, "git", "remote", "add", "origin", str(hub))
    commit = lab.commit(train__a="a0")
    run(lab.project, "git", "push", "--quiet", "origin", "main:refs/heads/runs")
    lab.record(commit, train__a="a1")
    assert lab.log == ["runs/a is not pushed to origin, which has a branch runs: rename that one there."]
    run(lab.project, "git", "branch", "--delete", "--force", "runs/a")
    run(lab.project, "git", "branch", "runs")
    with pytest.raises(UserError, match=r"^runs/a can't be made, as .+/project has a branch runs: rename that one\.$"):
        lab.record(commit, train__a="a1")


@pytest.mark.parametrize("text", ["stages: {", "- train", "train", "stages: train"])
def test_a_record_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    lab = Lab(tmp_path)
    commit = lab.commit(train__a="a0")
    lab.record(commit, train__a="a1")
    run(lab.project, "git", "checkout", "--quiet", "runs/a")
    (lab.project / "dvc.lock").write_text(text)
    damaged = commit_all(lab.project)
    run(lab.project, "git", "checkout", "--quiet", "main")
    with pytest.raises(UserError, match=rf"^dvc\.lock of commit {damaged[:9]} can't be read: put an earlier one"):
        lab.record(commit, train__a="a2")


STUBBORN = "trap : TERM\necho $$\nwhile :; do sleep 1; done\n"
FLOW = """\
import sys
from pathlib import Path
from flows import stages
impatient = "import sys; from flows import guard; guard._TERM_SECONDS = 1.0; sys.exit(guard.main(sys.argv[1:]))"
stages._GUARD = [sys.executable, "-c", impatient]
command = ["sh", "-c", "sh stubborn.sh 2> errors & wait"]
stages.run_command(Path(), "stage", command, lambda line: print(line, flush=True))
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
