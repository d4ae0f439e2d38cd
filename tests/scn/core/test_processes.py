"""A service outlives the command that starts it, and a later command finds and ends it, and no other process."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from scn.core.processes import Service

# Ignores SIGTERM, and so does the child that it starts, which says its id once both do.
STUBBORN = """\
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"])
else:
    print(os.getpid(), flush=True)
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
    deadline = time.monotonic() + 300
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
    pid, deadline = pid_of(tmp_path), time.monotonic() + 60
    assert service.end()
    while not (gone(pid) and gone(child)):  # on a busy machine a SIGKILL may take longer than it was given here
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_children_are_asked_to_end_before_their_parent(tmp_path: Path) -> None:
    service = start(tmp_path, POLITE)
    wait_for_output(service)
    assert service.end()
    assert service.log.read_text().split() == ["ready", "child", "parent"]


def test_another_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    service, file = start(tmp_path, "import time; time.sleep(300)"), tmp_path / "thing.pid"
    pid, ticks, boot, namespace = file.read_text().split()
    began = psutil.Process(int(pid)).create_time()
    try:
        for other in (f"{int(ticks) - 1} {boot} {namespace}", f"{ticks} before {namespace}", f"{began - 100:.2f}"):
            file.write_text(f"{pid} {other}\n")
            assert not service.runs()
            assert not service.end()
            assert not gone(int(pid))
        file.write_text(f"{pid} {began:.2f}\n")  # as earlier versions wrote it
        assert service.runs()
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_a_clock_that_is_set_meanwhile_disowns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = start(tmp_path, "import time; time.sleep(300)")
    pid, now = pid_of(tmp_path), psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: now + 5)
    try:
        assert service.end()
        assert gone(pid)
    finally:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_process_whose_id_can_not_be_written_down_is_not_left_running(tmp_path: Path) -> None:
    before = psutil.Process().children()
    (tmp_path / "thing.pid").mkdir()
    with pytest.raises(IsADirectoryError):
        start(tmp_path, "import time; time.sleep(300)")
    assert set(psutil.Process().children()) <= set(before)
