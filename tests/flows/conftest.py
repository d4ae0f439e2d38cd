"""Small git and DVC projects whose stages only write text, and a Prefect API for the session."""

import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PARAMS = """\
corpora: {local: {mine: photos/mine}}
data: {train: [mine/train], evaluation: [mine/evaluation]}
experiments:
  sr-x2: {task: sr, level: 2}
  dn-s25: {task: dn, level: 25}
"""

DVC_YAML = """\
stages:
  download:
    foreach: ${corpora.local}
    do:
      cmd: mkdir -p indexes && ls ${item} > indexes/${key}.json
      deps: ["${item}"]
      outs: ["indexes/${key}.json"]
  train:
    foreach: ${experiments}
    do:
      cmd: >-
        mkdir -p models && TRAIN
      deps: [indexes]
      outs: ["models/${key}"]
  publish:
    foreach: ${experiments}
    do:
      cmd: mkdir -p published && cat models/${key} > published/${key} && date +%N > .scn/store/${key}
      deps: ["models/${key}"]
      outs: ["published/${key}"]
"""

MakeScratch = Callable[..., Path]


def run(folder: Path, *command: str) -> str:
    """Runs `command`, which must succeed, and returns what it prints."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit_all(folder: Path) -> str:
    """Commits everything there and returns the commit."""
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "State")
    return run(folder, "git", "rev-parse", "HEAD").strip()


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of git and DVC in which nothing is committed: `dvc init` takes a second, a copy of it nothing."""
    root = tmp_path_factory.mktemp("empty") / "repository"
    root.mkdir()
    run(root, "git", "init", "--quiet")
    run(root, sys.executable, "-m", "dvc", "init", "--quiet")
    return root


@pytest.fixture
def make_scratch(tmp_path: Path, empty_repository: Path) -> MakeScratch:
    """A function: command of the stage train -> root of a committed project."""

    def make(train: str = "pwd > models/${key}") -> Path:
        root = tmp_path / "project"
        shutil.copytree(empty_repository, root)
        (root / "photos/mine").mkdir(parents=True)
        (root / "photos/mine/photograph.png").write_text("pixels")
        (root / "file.txt").write_text("committed")
        (root / "params.yaml").write_text(PARAMS)
        (root / "dvc.yaml").write_text(DVC_YAML.replace("TRAIN", train))
        (root / ".gitignore").write_text("/.scn/\n/corpora/\n/photos/\n/indexes/\n/models/\n/published/\n")
        commit_all(root)
        return root

    return make


@pytest.fixture
def known_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows know the stages of a scratch project and push nothing: to ask DVC takes a second each time."""

    def known(_: Path, target: str) -> list[str]:
        name = target.removeprefix("publish@")
        return ["download@mine", f"train@{name}", target]

    monkeypatch.setattr("flows.chain.stages_of", known)
    monkeypatch.setattr("flows.chain.push_outputs", lambda *_: None)


@pytest.fixture
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage asks soon whether its run is cancelled."""
    monkeypatch.setattr("flows.ending.ASK_SECONDS", 0.2)


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect API with a database of its own, for flows that run in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of Prefect's own modules, at their import and in its server
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=500):
            yield


def end_when(ready: Path, state_type: str, find: Any) -> threading.Thread:
    """Sets the newest run that `find` names to a state, as a page does, once the file `ready` is there."""
    from prefect import get_client
    from prefect.client.schemas.objects import State, StateType

    def wait() -> None:
        while not ready.exists():
            time.sleep(0.05)
        with get_client(sync_client=True) as client:
            found = [run for run in client.read_flow_runs() if find(run) and not run.state.is_final()]
            client.set_flow_run_state(found[0].id, State(type=StateType[state_type]), force=True)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread
