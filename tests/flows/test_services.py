"""`services` starts and ends processes; these tests do without Prefect, which test_prefect_server.py runs."""

import socket
from pathlib import Path

import pytest

from flows.services import main
from scn.core.processes import Service


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
