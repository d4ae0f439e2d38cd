"""`services` starts and ends processes; these tests do without Prefect, which test_prefect_server.py runs."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.services import main
from scn.core.processes import Service

# Ignores SIGTERM, and so does the child that it starts; says so once both do.
STUBBORN = """\
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"])
    print(child.pid, flush=True)
time.sleep(300)
"""

# Says its name when it is asked to end, and so does its child; says `ready` once both would.
POLITE = """\
import signal, subprocess, sys, time
name = sys.argv[1] if len(sys.argv) > 1 else "parent"
def end(*_):
    print(name, flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
if name == "parent":
    child = subprocess.Popen([sys.executable, __file__, "child"])
else:
    print("ready", flush=True)
time.sleep(300)
"""


def start(folder: Path, text: str) -> Service:
    script = folder / "script.py"
    script.write_text(text)
    service = Service("thing", folder)
    service.start([sys.executable, str(script)], folder, dict(os.environ))
    return service


def pid_of(folder: Path) -> int:
    return int((folder / "thing.pid").read_text().split()[0])


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_for_output(service: Service) -> str:
    deadline = time.monotonic() + 30
    while not service.log.read_text().endswith("\n") and time.monotonic() < deadline:
        time.sleep(0.05)
    return service.log.read_text()


def test_another_command_finds_and_ends_it(tmp_path: Path) -> None:
    service = start(tmp_path, "import time; print('ready', flush=True); time.sleep(300)")
    wait_for_output(service)
    pid = pid_of(tmp_path)
    later = Service("thing", tmp_path)
    assert later.runs()
    assert later.end()
    assert gone(pid)
    assert not (tmp_path / "thing.pid").exists()
    assert not later.runs()
    assert not later.end()


def test_what_does_not_end_when_asked_is_forced_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scn.core.processes._TERM_SECONDS", 0.5)
    service = start(tmp_path, STUBBORN)
    child = int(wait_for_output(service))
    pid = pid_of(tmp_path)
    time.sleep(0.5)
    assert service.end()
    assert gone(pid)
    assert gone(child)


def test_children_are_asked_to_end_before_their_parent(tmp_path: Path) -> None:
    service = start(tmp_path, POLITE)
    wait_for_output(service)
    assert service.end()
    assert service.log.read_text().split() == ["ready", "child", "parent"]


def test_another_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    service = start(tmp_path, "import time; time.sleep(300)")
    pid, started = (tmp_path / "thing.pid").read_text().split()
    try:
        (tmp_path / "thing.pid").write_text(f"{pid} {float(started) - 100}\n")
        assert not service.runs()
        assert not service.end()
        assert not gone(int(pid))
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_a_port_in_use_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("PREFECT_PORT", str(port))
        assert main(["up"]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"flows: Port {port} of 127.0.0.1 can't be used (")
    assert message.count("\n") == 1
    assert not list((tmp_path / ".scn/prefect").glob("*.pid"))


def test_a_server_that_runs_without_a_password_is_ended_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was started by a version that made none: to go on would leave it open to everybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Service, "runs", lambda _: True)
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    assert main(["up"]) == 1
    message = capsys.readouterr().err
    assert message == (
        "flows: Prefect's server has no password, or one that is not here any more: run `make prefect-down` first.\n"
    )


def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["up"]) == 1
    assert capsys.readouterr().err == f"flows: {tmp_path} has no prefect.yaml: run this in the project's folder.\n"
    monkeypatch.setenv("PREFECT_PORT", "http")
    assert main(["up"]) == 1
    assert capsys.readouterr().err.startswith("flows: PREFECT_PORT is 'http': ")
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Prefect was not up.\n"
