"""`retrain`: order and limit, one failure that stops no other, and what DVC calls stale."""

import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import get_client
from prefect.states import Completed

from flows.lock import LOCK
from flows.results import Warn, record
from flows.retrain import bases, in_order, retrain
from flows.stages import DVC, run_command, stages_of
from flows.stale import stale_experiments
from flows.workspace import find_commit, make_workspace, params_at
from scn.config.params import load_params
from scn.core.errors import UserError
from tests.flows.conftest import PARAMS, MakeScratch, commit_all, end_when, run


def test_a_base_is_trained_first_and_no_more_than_the_limit_at_once() -> None:
    order, now, most, lock = list[str](), set[str](), 0, threading.Lock()
    pair = threading.Barrier(2, timeout=60)

    def one(name: str) -> str:
        nonlocal most
        with lock:
            now.add(name)
            most = max(most, len(now))
        if name in ("b", "c"):  # two of them do run at the same time
            pair.wait()
        with lock:
            order.append(name)
            now.remove(name)
        return ""

    assert in_order("abcd", {"a": "d"}, one, 2) == {}
    assert order.index("d") < order.index("a")
    assert most == 2


def test_one_that_fails_stops_only_those_that_start_from_it() -> None:
    done = []

    def one(name: str) -> str:
        if name == "b":
            raise RuntimeError("it broke")
        done.append(name)
        return "no shards" if name == "a" else ""

    assert in_order("abcd", {"d": "a"}, one, 1) == {
        "a": "no shards",
        "b": "it broke",
        "d": "not run, as it starts from a, which failed",
    }
    assert done == ["a", "c"]


def test_what_waits_for_each_other_fails_and_the_others_run() -> None:
    done = []

    def one(name: str) -> str:
        done.append(name)
        return ""

    after = {"a": "b", "b": "a", "c": "a", "e": "d", "f": "elsewhere"}
    assert in_order("abcdef", after, one, 2) == {
        name: f"not run, as it starts from {after[name]}, which has not run" for name in "abcf"
    }
    assert sorted(done) == ["d", "e"]


def test_a_chain_below_one_that_failed_is_told_why() -> None:
    assert in_order("cba", {"c": "b", "b": "a"}, lambda name: "no shards", 1) == {
        "a": "no shards",
        "b": "not run, as it starts from a, which failed",
        "c": "not run, as it starts from b, which failed",
    }


def test_the_experiment_that_another_starts_from_is_its_base(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS + "start_from: {dn-s25: models/sr-x2}\n")
    params = load_params(tmp_path / "params.yaml")
    assert bases(params, ["dn-s25", "sr-x2"]) == {"dn-s25": "sr-x2"}
    assert bases(params, ["dn-s25"]) == {}
    (tmp_path / "params.yaml").write_text(PARAMS + "start_from: {dn-s25: ./models/sr-x2/}\n")  # as DVC takes it, too
    assert bases(load_params(tmp_path / "params.yaml"), ["dn-s25", "sr-x2"]) == {"dn-s25": "sr-x2"}


@pytest.mark.usefixtures("prefect_api", "known_stages")
@pytest.mark.filterwarnings("default")
def test_the_end_says_which_failed(make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_scratch("[ ${key} = sr-x2 ] && echo 'scn: no shards.' && exit 1; echo trained > models/${key}")
    monkeypatch.chdir(project)
    state: Any = retrain(retries=0, at_once=2, return_state=True)
    assert state.name == "Failed"
    assert state.message.startswith("1 of 2 failed: sr-x2: Stage train@sr-x2 failed: scn: no shards. (alone: cd ")
    assert (project / ".scn/store/dn-s25").is_file()

    # The branch of runs tells that dn-s25 is up to date, until something that decides it changes.
    names = ["sr-x2", "dn-s25"]
    assert stale(project, names) == ["sr-x2"]
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("echo trained", "echo trained again"))
    commit_all(project)
    assert stale(project, names) == names


LOOK = """\
stages:
  look:
    foreach: ${corpora.local}
    do:
      cmd: mkdir -p listings && ls ${item} > listings/${key}.json
      always_changed: true
      outs: ["listings/${key}.json"]
  index:
    foreach: ${corpora.local}
    do:
      cmd: mkdir -p indexes && cp listings/${key}.json indexes/${key}.json
      deps: ["listings/${key}.json"]
      outs: ["indexes/${key}.json"]
"""


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


def stale(project: Path, names: list[str], warn: Warn = no_warning) -> list[str]:
    commit = find_commit(project, None)
    return stale_experiments(project, commit, params_at(project, commit), names, print, warn)


def record_run(project: Path, warn: Warn) -> None:
    """Runs and records sr-x2."""
    commit, workspace = find_commit(project, None), project / ".scn/one"
    make_workspace(project, commit, params_at(project, commit), workspace)
    run_command(workspace, "repro", [*DVC, "repro", "publish@sr-x2"], print)
    stages = stages_of(workspace, "publish@sr-x2")
    record(project, workspace, commit, "runs/sr-x2", stages, "run", warn)


def test_a_new_image_in_a_corpus_of_ones_own_makes_an_experiment_stale(make_scratch: MakeScratch) -> None:
    project = make_scratch("cat indexes/* > models/${key}")
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(LOOK + text[text.index("  train:") :])
    commit_all(project)
    record_run(project, no_warning)
    assert stale(project, ["sr-x2"]) == []
    (project / "photos/mine/another.png").write_text("pixels")
    assert stale(project, ["sr-x2"]) == ["sr-x2"]


def test_an_experiment_whose_record_another_dvc_wrote_is_stale_until_it_is_run(
    make_scratch: MakeScratch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_scratch("echo weights > models/${key}")
    record_run(project, no_warning)
    branch = run(project, "git", "branch", "--show-current").strip()
    run(project, "git", "checkout", "--quiet", "runs/sr-x2")
    (project / LOCK).write_text("schema: '3.0'\nstages: {}\n")
    commit_all(project)
    run(project, "git", "checkout", "--quiet", branch)
    assert stale(project, ["sr-x2", "dn-s25"]) == ["sr-x2", "dn-s25"]
    assert "DVC can't read the dvc.lock of runs/sr-x2: its experiment counts as stale.\n" in capsys.readouterr().out
    record_run(project, no_warning)
    assert stale(project, ["sr-x2"]) == []


def test_remotes_that_were_away_get_what_is_up_to_date(
    make_scratch: MakeScratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*words: Any) -> str:
        raise UserError("no answer")

    project, hub = make_scratch("echo weights > models/${key}"), tmp_path / "hub.git"
    with (project / ".dvc/config").open("a") as config:
        config.write("[core]\n    remote = local\n['remote \"local\"']\n    url = ../.scn/dvc-remote\n")
    commit_all(project)
    run(project, "git", "remote", "add", "origin", str(hub))
    warnings: list[str] = []
    record_run(project, warnings.append)
    assert len(warnings) == 1

    with monkeypatch.context() as patched:
        patched.setattr("flows.stale._dvc", fails)
        with pytest.raises(UserError, match="no answer"):
            stale(project, ["sr-x2"], warnings.append)
    assert len(warnings) == 2  # what a remote refused is told, whatever comes after it

    run(tmp_path, "git", "init", "--quiet", "--bare", str(hub))
    assert stale(project, ["sr-x2"]) == []
    assert run(hub, "git", "rev-parse", "runs/sr-x2") == run(project, "git", "rev-parse", "runs/sr-x2")
    assert [path for path in (project / ".scn/dvc-remote").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("default")
def test_the_end_says_what_is_not_recorded(make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(name: str, **_: Any) -> Any:
        told = "" if name == "sr-x2" else f"What was made is not recorded in runs/{name}."
        return Completed(message=f"{name} is published. {told}", data=told)

    monkeypatch.setattr("flows.retrain.scn", one)
    monkeypatch.chdir(make_scratch())
    state: Any = retrain(return_state=True)
    assert (state.name, state.message) == (
        "Completed",
        "sr-x2, dn-s25 published. What was made is not recorded in runs/dn-s25.",
    )


@pytest.mark.usefixtures("prefect_api", "known_stages", "asked_often")
@pytest.mark.filterwarnings("default")
def test_one_that_is_cancelled_stops_no_other(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = make_scratch(
        f"[ ${{key}} = sr-x2 ] && touch {tmp_path}/ready && sleep 300; echo trained > models/${{key}}"
    )
    monkeypatch.chdir(project)
    ending = end_when(tmp_path / "ready", "CANCELLED", lambda run: run.name.startswith("sr-x2-"))
    state: Any = retrain(retries=0, at_once=2, return_state=True)
    ending.join()
    assert state.name == "Failed"
    assert state.message.startswith("1 of 2 failed: sr-x2: It was cancelled: stage train@sr-x2 was ended")
    assert (project / ".scn/store/dn-s25").is_file()


@pytest.mark.usefixtures("prefect_api", "known_stages")
@pytest.mark.filterwarnings("default")
def test_when_its_process_is_asked_to_end_all_that_it_runs_ends(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = make_scratch(f"touch {tmp_path}/${{key}}; sleep 300; echo trained > models/${{key}}")
    monkeypatch.chdir(project)

    class Asked(BaseException):
        pass

    def wait(*_: Any, **__: Any) -> Any:  # where the main thread is when a signal comes
        while not ((tmp_path / "sr-x2").exists() and (tmp_path / "dn-s25").exists()):
            time.sleep(0.05)
        raise Asked

    monkeypatch.setattr("flows.retrain.wait", wait)
    with pytest.raises(Asked):
        retrain(retries=0, at_once=2)
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(tmp_path) in command]
    with get_client(sync_client=True) as client:
        ended = [run for run in client.read_flow_runs() if run.name.startswith(("sr-x2-", "dn-s25-"))]
    newest = {run.name.rpartition("-")[0]: run for run in sorted(ended, key=lambda run: run.created)}
    assert {name: run.state.name for name, run in newest.items()} == {"sr-x2": "Cancelled", "dn-s25": "Cancelled"}
