"""`scn serve` as a program: what it says, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import scn.cli

pytestmark = pytest.mark.integration


@pytest.fixture
def program(published_models: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`scn serve` on a free port, with a folder of its own for what is temporary."""
    command = [sys.executable, "-m", "scn.cli", "serve", "--port", "0", "--device", "cpu", "--threads", "1"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [*command, "--params", str(published_models)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_names_its_address_and_ends_without_a_trace(
    program: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    assert program.stdout
    line = program.stdout.readline()
    found = re.fullmatch(r"SCN restores photographs at (http://127\.0\.0\.1:\d+/) \(for this machine only\).*\n", line)
    assert found, line
    assert requests.get(f"{found[1]}healthz", timeout=60).json() == {"waiting": 0}
    assert [path.name[:10] for path in (tmp_path / "temporary").iterdir()] == ["scn-serve-"]
    program.send_signal(number)
    assert program.wait(250) == 0
    assert not list((tmp_path / "temporary").iterdir())


def test_an_address_that_is_taken_is_one_sentence(
    published_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fixed = ["scn", "serve", "--port", str(port), "--device", "cpu", "--params", str(published_models)]
        monkeypatch.setattr("sys.argv", fixed)
        with pytest.raises(SystemExit, match="1"):
            scn.cli.main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"scn: 127.0.0.1:{port} can't be listened on (Address already in use): name another --port or --host."
    )
    assert not list(tmp_path.glob("scn-serve-*"))


@pytest.mark.parametrize("minutes", ["0", "-1"])
def test_results_are_kept_for_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], minutes: str
) -> None:
    monkeypatch.setattr("sys.argv", ["scn", "serve", "--params", "none.yaml", "--keep-minutes", minutes])
    with pytest.raises(SystemExit, match="2"):
        scn.cli.main()
    assert "--keep-minutes" in capsys.readouterr().err
