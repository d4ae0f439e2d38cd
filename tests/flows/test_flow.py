"""The flow `scn` in this process: its tasks, its end, and what two runs at once share."""

import contextvars
import errno
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import chain, page, unrecorded
from flows import prepare as prepare_module
from flows import scn as flow_module
from flows import study as study_module
from flows.stages import run_stage
from tests.flows.conftest import MakeScratch, end_when, run

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.filterwarnings("default"),  # Prefect's own; none may stop a flow here
]


def run_flow(project: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> Any:
    monkeypatch.chdir(project)
    return flow_module.scn(**{"retries": 0, **parameters}, return_state=True)


def workspaces(project: Path) -> list[Path]:
    return list((project / ".scn/flow-runs").glob("*"))


def task_runs(flow_run_id: Any) -> list[Any]:
    """The task runs of a flow run, in the order of their start; the API learns of them a little later."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    deadline = time.monotonic() + 120
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
            if all(run.state.is_final() for run in found) or time.monotonic() > deadline:
                return sorted(found, key=lambda run: run.start_time)
            time.sleep(0.2)


def flow_run(state: Any) -> Any:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id)


def artifacts(state: Any, key: str) -> list[Any]:
    """The artifacts of a flow run with this key, in the order in which they were made."""
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    about = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]), key=ArtifactFilterKey(any_=[key])
    )
    with get_client(sync_client=True) as client:
        return sorted(client.read_artifacts(artifact_filter=about), key=lambda artifact: artifact.created)


def logs(state: Any, awaited: str) -> list[str]:
    """What a flow run and its tasks have logged, when `awaited` is among it: the API learns of it a little later."""
    from prefect import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    about = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    deadline = time.monotonic() + 120
    with get_client(sync_client=True) as client:
        while True:
            found = [entry.message for entry in client.read_logs(log_filter=about)]
            if any(awaited in message for message in found) or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


def test_a_run_publishes_and_removes_its_workspace(make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_scratch()
    state = run_flow(project, monkeypatch, experiment="sr-x2")
    assert state.is_completed()
    commit = run(project, "git", "rev-parse", "--short=9", "HEAD").strip()
    named = flow_run(state)
    assert (named.name, set(named.tags)) == (f"sr-x2-{commit}", {"scn", "sr-x2", "sr", commit})
    assert [each.name for each in task_runs(state.state_details.flow_run_id)][-2:] == ["train@sr-x2", "publish@sr-x2"]
    assert (project / ".scn/store/sr-x2").is_file()
    assert workspaces(project) == []
    assert not (project / "published").exists()  # it ran elsewhere


@pytest.mark.usefixtures("known_stages")
def test_a_failed_stage_fails_the_run_with_one_sentence_and_keeps_the_workspace(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_scratch("echo 'scn: no shards there: make them.'; exit 1")
    state = run_flow(project, monkeypatch, experiment="sr-x2")
    assert "publish@sr-x2" not in [each.name for each in task_runs(state.state_details.flow_run_id)]
    [kept] = workspaces(project)
    alone = f"cd .scn/flow-runs/{kept.name} && PYTHONPATH=$PWD dvc repro --single-item train@sr-x2"
    reason = "Stage train@sr-x2 failed: scn: no shards there: make them."
    assert (state.name, state.message) == ("Failed", f"{reason} (alone: {alone})")
    [shown] = artifacts(state, "failure-train-sr-x2")
    assert f"\n{alone}\n" in shown.data
    assert "no shards there" in shown.data
    assert shown.description == reason
    done = subprocess.run(alone, shell=True, cwd=project, capture_output=True, text=True)
    assert "scn: no shards there: make them." in done.stdout + done.stderr  # the command is one that runs
    assert (kept / "indexes/mine.json").read_text() == "photograph.png\n"


@pytest.mark.usefixtures("known_stages")
def test_a_stage_that_fails_once_is_tried_again(make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_scratch("mkdir .scn/store/tried && exit 1; echo trained > models/${key}")
    monkeypatch.setattr(chain, "RETRY_DELAYS", [0.0])
    state = run_flow(project, monkeypatch, experiment="sr-x2", retries=1)
    assert state.is_completed()
    counts = {each.name: each.run_count for each in task_runs(state.state_details.flow_run_id)}
    assert (counts["train@sr-x2"], counts["publish@sr-x2"]) == (2, 1)


@pytest.mark.usefixtures("known_stages")
def test_a_stage_that_takes_too_long_is_ended(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready, started = tmp_path / "ready", time.monotonic()
    project = make_scratch(f"touch {ready}; sleep 300; echo trained > models/${{key}}")
    # The stage before it has all the time that it needs: two hours pass when the training is at work.
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 7200 * ready.exists())
    monkeypatch.setattr("flows.ending.time", clock)
    state = run_flow(project, monkeypatch, experiment="sr-x2", timeout_hours=1.0)
    assert time.monotonic() - started < 250
    assert state.name == "Failed"
    assert state.message.startswith("Stage train@sr-x2 took longer than 1 hours: ")


@pytest.mark.usefixtures("known_stages")
def test_two_runs_at_once_have_a_workspace_each(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Each training waits until it sees the other: they do run at the same time, and so in two folders.
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    here = (
        f"touch {meeting}/${{key}}; for i in $(seq 3000); do [ $(ls {meeting} | wc -l) = 2 ] && break; sleep 0.1; done"
    )
    project = make_scratch(f"{here}; [ $(ls {meeting} | wc -l) = 2 ] && pwd > models/${{key}}")
    monkeypatch.chdir(project)
    states: dict[str, Any] = {}

    def start(experiment: str) -> None:
        states[experiment] = flow_module.scn(experiment=experiment, retries=0, return_state=True)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(start, experiment))
        for experiment in ("sr-x2", "dn-s25")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: state.name for name, state in states.items()} == {"sr-x2": "Completed", "dn-s25": "Completed"}

    places = set()
    for experiment in states:  # what the runs made is in the cache that they share
        for stage in ("download@mine", f"train@{experiment}"):
            run_stage(project, stage, print)
        places.add((project / "models" / experiment).read_text().strip())
    assert len(places) == 2
    assert {Path(place).parent for place in places} == {project / ".scn/flow-runs"}


@pytest.mark.usefixtures("known_stages")
def test_what_a_training_prints_is_shown_as_progress_and_secrets_are_not(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "planted-0b5e55ed"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    project = make_scratch(
        "echo 'sr-x2: step 50 of 200, loss 0.0312, 3 min left'; echo with $AWS_SECRET_ACCESS_KEY; "
        "echo 'sr-x2: step 150 of 200, loss 0.0300, 1 min left, PSNR 27.40 dB'; exit 1"
    )
    seen: list[tuple[float, str]] = []
    update = page.update_progress_artifact

    def noted(artifact: Any, progress: float, **how: Any) -> None:
        seen.append((progress, how["description"]))
        update(artifact, progress, **how)

    monkeypatch.setattr(page, "update_progress_artifact", noted)
    state = run_flow(project, monkeypatch, experiment="sr-x2")
    [progress] = artifacts(state, "progress-sr-x2")
    assert seen == [(75.0, "step 150 of 200, PSNR 27.40 dB, 1 min left")]
    assert (progress.data, progress.description) == (75.0, seen[0][1])

    [failure] = artifacts(state, "failure-train-sr-x2")
    assert "with ***" in failure.data
    shown = [state.message, failure.data, failure.description, *logs(state, "with ***")]
    assert any("with ***" in text for text in shown[3:])
    assert not any(secret in text for text in shown)


def test_an_unknown_experiment_fails_the_run_before_anything_is_made(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_scratch()
    state = run_flow(project, monkeypatch, experiment="sr-x22")
    assert state.name == "Failed"
    assert state.message.endswith(": 'sr-x22' is no known experiment: did you mean 'sr-x2'.")
    assert workspaces(project) == []


@pytest.mark.usefixtures("known_stages", "asked_often")
@pytest.mark.parametrize("state_type", ["CANCELLING", "CANCELLED"])
def test_a_run_that_is_cancelled_ends_its_stage_and_runs_no_other(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state_type: str
) -> None:
    """Also where no worker ends its process, as for a run that is set to Cancelled at once."""
    project = make_scratch(f"touch {tmp_path}/ready; sleep 300; echo trained > models/${{key}}")
    ending = end_when(tmp_path / "ready", state_type, lambda run: run.name.startswith("sr-x2-"))
    state = run_flow(project, monkeypatch, experiment="sr-x2", retries=1)
    ending.join()
    assert state.name == "Cancelled"
    assert "train@sr-x2 was ended" in state.message
    assert not (project / ".scn/store/sr-x2").exists()
    assert len(workspaces(project)) == 1  # it goes on from there
    assert flow_run(state).state.name == "Cancelled"


@pytest.mark.usefixtures("known_stages", "asked_often")
def test_a_run_that_is_cancelled_before_a_retry_does_not_wait_for_it(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is cancelled in the pause: what DVC does after the first attempt may take longer than the question."""
    project, pause, waits = make_scratch("exit 1"), chain._pause, tmp_path / "waits"
    monkeypatch.setattr(chain, "_pause", lambda retry, told: pause(retry, lambda line: (told(line), waits.touch())))
    monkeypatch.setattr(chain, "RETRY_DELAYS", [600.0])
    ending = end_when(waits, "CANCELLED", lambda run: run.name.startswith("sr-x2-"))
    started = time.monotonic()
    state = run_flow(project, monkeypatch, experiment="sr-x2", retries=1)
    ending.join()
    assert state.name == "Cancelled"
    assert time.monotonic() - started < 500
    assert any("Tries again in 600 s" in line for line in logs(state, "Tries again in"))


def test_the_shards_of_a_preparation_are_shown(make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [{"experiment": "sr-x2", "set": "training", "images": "3"}]
    monkeypatch.setattr(page.shards, "rows", lambda params, name: made if name == "sr-x2" else [])
    monkeypatch.setattr(chain.Run, "order", lambda *_: [])
    project = make_scratch()
    monkeypatch.chdir(project)
    state: Any = prepare_module.prepare(experiments=["sr-x2", "dn-s25"], return_state=True)
    assert state.is_completed(), state.message
    [shown] = artifacts(state, "shards-sr-x2-dn-s25")
    assert json.loads(shown.data) == made
    assert shown.description == "The shards of sr-x2, dn-s25 in file://.scn/store"


@pytest.mark.usefixtures("known_stages")
def test_a_run_that_can_not_be_recorded_keeps_its_workspace_and_tells_how_to(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_scratch()
    run(project, "git", "checkout", "--quiet", "-b", "runs/sr-x2")
    state = run_flow(project, monkeypatch, experiment="sr-x2")
    [kept] = workspaces(project)
    place = f".scn/flow-runs/{kept.name}"
    # It is published, so the run is done; only what it was made of is known nowhere else.
    assert (state.name, state.message) == (
        "Completed",
        "sr-x2 is published: `dvc repro publish@sr-x2` brings its files here. What was made is not recorded in runs/"
        f"sr-x2 (runs/sr-x2 is checked out in {project}, so that nothing can be committed to it: switch to another "
        f"branch there): mend that, and `python -m flows.unrecorded {place}` commits it out of the workspace, which is "
        "kept; or run it again, which makes nothing twice.",
    )

    assert unrecorded.main([place]) == 1
    assert capsys.readouterr().err.startswith("flows: runs/sr-x2 is checked out in ")
    run(project, "git", "checkout", "--quiet", "-b", "another")
    assert unrecorded.main([place]) == 0
    assert "publish@sr-x2" in run(project, "git", "show", "runs/sr-x2:dvc.lock")
    assert workspaces(project) == []
    assert unrecorded.main([place]) == 1
    assert capsys.readouterr().err == (
        f"flows: {place} is no workspace whose run is not recorded: give the folder that the end of the run names.\n"
    )


def test_the_end_of_a_run_tells_that_a_remote_did_not_take_what_it_made(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = make_scratch()
    monkeypatch.chdir(project)
    monkeypatch.setattr(chain.Run, "order", lambda *_: [])
    run(project, "git", "remote", "add", "origin", str(tmp_path / "away"))
    state: Any = prepare_module.prepare(experiments=["sr-x2"], return_state=True)
    told = "runs/sr-x2 is not pushed to origin: "
    assert state.message.startswith(f"The shards of sr-x2 are in the store. {told}")
    assert state.result().startswith(told)  # which a retraining repeats
    assert state.name == "Completed"
    assert workspaces(project) == []


NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_the_end_is_one_sentence_and_what_was_made_can_be_recorded(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise NO_ROOM

    def record(*_: Any) -> None:
        monkeypatch.setattr(unrecorded, "write_atomically", full)
        raise NO_ROOM

    project = make_scratch()
    monkeypatch.chdir(project)
    monkeypatch.setattr(chain.Run, "order", lambda *_: [])
    monkeypatch.setattr(chain, "record", record)
    state: Any = prepare_module.prepare(experiments=["sr-x2"], return_state=True)
    told = (
        "The shards of sr-x2 are in the store. What was made is not recorded in runs/sr-x2 ([Errno 28] No space left on"
    )
    assert state.name == "Completed"
    assert state.message.startswith(told)
    monkeypatch.undo()
    [kept] = workspaces(project)
    assert unrecorded.main([str(kept)]) == 0
    assert run(project, "git", "log", "-1", "--format=%s", "runs/sr-x2").startswith("shards of sr-x2 of ")


def test_a_disk_that_is_full_in_the_middle_is_one_sentence(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise NO_ROOM

    monkeypatch.setattr(chain.Run, "order", lambda *_: [])
    monkeypatch.setattr(prepare_module, "show_shards", full)
    monkeypatch.chdir(make_scratch())
    state: Any = prepare_module.prepare(experiments=["sr-x2"], return_state=True)
    assert state.name == "Failed"
    assert state.message.startswith("The run can't go on in .scn/flow-runs/prepare-sr-x2-")
    assert state.message.endswith(
        " ([Errno 28] No space left on device): make room there or mend that, and start it again."
    )


@pytest.mark.parametrize("checked_out", [False, True])
def test_the_table_of_a_study_is_shown_and_kept(
    make_scratch: MakeScratch, monkeypatch: pytest.MonkeyPatch, checked_out: bool
) -> None:
    def made(_: chain.Run, name: str, command: list[str]) -> list[str]:
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True)
        for file in study_module.FILES:
            (folder / file).write_text(f"{file} of {name}")
        return []

    monkeypatch.setattr(chain.Run, "order", lambda *_: [])
    monkeypatch.setattr(chain.Run, "command", made)
    project = make_scratch()
    monkeypatch.chdir(project)
    if checked_out:
        run(project, "git", "checkout", "--quiet", "-b", "runs/study-scn-table5")
    state: Any = study_module.study(name="scn-table5", experiment="sr-x2", return_state=True)
    assert state.is_completed()
    [shown] = artifacts(state, "study-scn-table5")
    assert shown.data == "README.md of study scn-table5"
    there = "runs/study-scn-table5:studies/scn-table5/README.md"
    if checked_out:  # nothing is told that is not so
        table = ".scn/studies/scn-table5@sr-x2/README.md"
        start = f"The study is done: its table is {table}. What was made is not recorded in runs/study-scn-table5 ("
        assert state.message.startswith(start)
        assert (project / table).read_text() == shown.data
        run(project, "git", "checkout", "--quiet", "-b", "another")
        [kept] = workspaces(project)
        assert unrecorded.main([str(kept)]) == 0
    else:
        assert state.message == f"The study is done: `git show {there}` shows its table."
    assert run(project, "git", "show", there) == shown.data
