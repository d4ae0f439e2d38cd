"""Stopping a run: what a signal and a time limit become, and that nothing is lost by it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import scn.cli
from scn.config.params import Params
from scn.core.errors import STOPPED
from scn.launch.signals import Stopping
from scn.launch.stage import train_stage
from scn.storage import open_store

Project = Callable[..., Params]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_an_answer_and_the_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stopping() as stopping:
        assert stopping() == ""
        os.kill(os.getpid(), number)
        assert stopping() == number.name
    assert signal.getsignal(number) == before


def test_a_second_interrupt_interrupts() -> None:
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert stopping() == "SIGINT"


def test_what_was_to_be_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping() == ""
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_time_may_be_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stopping, endless = Stopping(8.5), Stopping()
    now[0] += 8.5 * 60 - 1
    assert stopping() == ""
    now[0] += 1
    assert stopping() == "8.5 minutes are over"
    assert endless() == ""


def test_beside_the_main_thread_the_time_counts_alone() -> None:
    answers: list[str] = []

    def run() -> None:
        with Stopping(0) as stopping:
            answers.append(stopping())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answers == ["0 minutes are over"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("how", ["--plain", pytest.param("", marks=pytest.mark.cluster)])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """SIGTERM to `scn train`: status 75, a checkpoint of the step it names, and the same weights in the end."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    params = project("sr-x2", epochs=10, checkpoint_every=10)
    train_stage(params, "sr-x2", plain=True)

    stopped = project("sr-x2", root=tmp_path / "stopped", epochs=10, checkpoint_every=10)
    command = [sys.executable, "-m", "scn.cli", "train", "-e", "sr-x2", "--params", str(stopped.path)]
    command += [how] if how else []
    store = open_store(stopped.storage.url, stopped.root)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while (
            not any("/step-" in key for key in store.list("runs/"))
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate()
    assert process.returncode == STOPPED == 75, said
    message = re.search(r"^sr-x2: stopped after step (\d+) of 150 \(SIGTERM\); .*$", said, re.MULTILINE)
    assert message, said
    assert not (stopped.root / "models").exists()

    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"goes on from step {message[1]} of 150" in again.stdout
    weights = Path("models/sr-x2/model.safetensors")
    assert (stopped.root / weights).read_bytes() == (params.root / weights).read_bytes()


def test_a_run_whose_time_is_over_stops(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = project("sr-x2")
    command = ["scn", "train", "-e", "sr-x2", "--plain", "--params", str(params.path), "--minutes", "0"]
    monkeypatch.setattr("sys.argv", command)
    for step in (1, 2):
        with pytest.raises(SystemExit) as end:
            scn.cli.main()
        assert end.value.code == STOPPED
        told = f"sr-x2: stopped after step {step} of 30 (0 minutes are over); the same command goes on"
        assert told in capsys.readouterr().err
