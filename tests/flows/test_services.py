"""`services` starts and ends processes; these tests do without Prefect, which test_prefect_server.py runs."""

import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flows.services import Services, main
from scn.core.processes import Service


def test_a_port_in_use_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scn.core.loopback._RELEASED_SECONDS", 0.0)
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


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Stub":
    """Services that start nothing, in an empty project that is the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    (tmp_path / ".scn/prefect").mkdir(parents=True)
    (tmp_path / ".scn/prefect/password").write_text("scn:words\n")
    stub = Stub()
    monkeypatch.setattr("flows.services.signal.signal", lambda *_: None)  # only the main thread may
    monkeypatch.setattr("flows.services.check_free", lambda *_: None)
    monkeypatch.setattr("flows.services.time.sleep", lambda _: None)
    monkeypatch.setattr(Service, "runs", lambda service: service.name in stub.started)
    monkeypatch.setattr(Services, "_url", lambda _: "http://127.0.0.1:4200/api")
    monkeypatch.setattr(Services, "_ask", stub.ask)
    monkeypatch.setattr(Services, "_start_server", lambda *_: stub.start("server"))
    monkeypatch.setattr(Services, "_deploy", lambda *_: stub.start("deployments"))
    monkeypatch.setattr(Services, "_limit", lambda *_: None)
    monkeypatch.setattr(Services, "_start_worker", lambda *_: stub.start("worker"))
    return stub


class Stub:
    """A server that answers the third question."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.questions = 0
        self.starting, self.may_start = threading.Event(), threading.Event()
        self.may_start.set()

    def start(self, name: str) -> None:
        self.starting.set()
        assert self.may_start.wait(300)
        if name != "server":
            assert self.questions >= 3, "the server does not answer yet"
        self.started.append(name)

    def ask(self, *_: Any) -> bool | None:
        self.questions += 1
        return True if self.questions >= 3 else None


def test_a_server_that_another_has_started_is_waited_for(stub: Stub) -> None:
    """Who started it may have been killed meanwhile."""
    stub.started.append("server")
    assert main(["up"]) == 0
    assert stub.started == ["server", "deployments", "worker"]


def test_of_two_at_once_the_second_waits_for_the_first(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.may_start.clear()
    told = ""
    with ThreadPoolExecutor(2) as both:
        first = both.submit(main, ["up"])
        assert stub.starting.wait(120)
        second = both.submit(main, ["up"])
        deadline = time.monotonic() + 120
        while "waits" not in told and time.monotonic() < deadline:
            told += capsys.readouterr().err
        stub.may_start.set()
        assert (first.result(), second.result()) == (0, 0)
    assert stub.started == ["server", "deployments", "worker"]
    assert told == (
        "flows: starts Prefect's server and a worker: a minute or two\n"
        "flows: waits for another `make prefect-up` to end\n"
    )


def test_behind_a_proxy_a_shell_gets_what_leads_round_it(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "localhost, $HOME")
    assert main(["up"]) == 0
    assert "proxy=" not in capsys.readouterr().out.lower()
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert main(["up"]) == 0
    exports = "".join(line for line in capsys.readouterr().out.splitlines(True) if "proxy=" in line.lower())
    shown = subprocess.run(["sh", "-euc", f'{exports}echo "$NO_PROXY $no_proxy"'], capture_output=True, text=True)
    assert shown.stdout == "127.0.0.1,localhost,$HOME 127.0.0.1,localhost,$HOME\n"


def test_a_folder_that_can_not_be_written_is_one_sentence(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["up"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("flows: ")
    assert message.endswith(
        "/.scn/prefect/home can't be used (Permission denied): check the path, its permissions and the disk.\n"
    )
    assert message.count("\n") == 1
