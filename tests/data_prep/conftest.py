"""The small project, the data-prep command, and a web server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from planted_copies import plant_copies
from small_corpora import configure, known, project, site_corpora
from web_server import Server

__all__ = ["configure", "known", "project", "site_corpora"]


@pytest.fixture
def planted(project: Path) -> dict[str, str]:
    """Changed copies of the project's evaluation images among its training images: name -> what they show."""
    return plant_copies()


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs the console entry point in this process; returns status, stdout, stderr."""
    from data_prep.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["data-prep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on this machine; transfers that break off are tried again at once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("data_prep.fetch.BACKOFF", 0.01)
    with Server() as running:
        yield running
