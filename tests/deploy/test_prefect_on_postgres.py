"""Prefect's server on PostgreSQL, as deploy/ has it: it migrates, keeps runs, asks for its password, and comes back.

The database comes back from a dump, as docs/operations.md has it.
"""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_ports

from tests.deploy import postgres
from tests.flows.conftest import MakeScratch, empty_repository, make_scratch

WORDS = "operator:word"
QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}

__all__ = ["empty_repository", "make_scratch"]


def ask(url: str, words: str | None = WORDS, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if words:
        headers["Authorization"] = f"Basic {base64.b64encode(words.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data, headers), timeout=10) as answer:
        text = answer.read().decode()
        return text if url.endswith("/metrics") else json.loads(text)


@contextmanager
def server(database: str, home: Path) -> Iterator[str]:
    """The URL of the API of a server with its data in `database`."""
    port = free_ports()
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, **QUIET, "PREFECT_HOME": str(home), "PREFECT_SERVER_API_AUTH_STRING": WORDS}
    environment |= {"PREFECT_API_DATABASE_CONNECTION_URL": database, "PREFECT_API_ENABLE_METRICS": "true"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                assert ask(f"{url}/ready", None)
                break
            except OSError:
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline, (home / "log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.container
@pytest.mark.skipif(not postgres.programs(), reason="PostgreSQL is not installed (Debian's package postgresql)")
def test_runs_are_kept_and_come_back_from_a_dump(make_scratch: MakeScratch, tmp_path: Path) -> None:
    project = make_scratch()
    with postgres.serving() as database:
        database.run("createdb", "prefect")
        with server(database.url("prefect"), tmp_path) as url:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                ask(f"{url}/flow_runs/count", None, {})
            environment = {**os.environ, **QUIET, "PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": WORDS}
            environment["PYTHONPATH"] = str(Path(__file__).parents[2])
            done = subprocess.run(
                [sys.executable, "-m", "flows.scn", "--experiment", "sr-x2"],
                cwd=project,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "python_info" in ask(f"{url}/metrics")
        kept = database.run(
            "psql", "--tuples-only", "--no-align", "--command", "SELECT state_type FROM flow_run", "prefect"
        )
        assert kept.split() == ["COMPLETED"]

        dump = str(database.folder / "prefect.dump")
        database.run("pg_dump", "--format", "custom", "--file", dump, "prefect")
        database.run("dropdb", "prefect")
        database.run("createdb", "prefect")
        database.run("pg_restore", "--exit-on-error", "--dbname", "prefect", dump)
        with server(database.url("prefect"), tmp_path) as url:
            (run,) = ask(f"{url}/flow_runs/filter", body={})
            assert (run["state_type"], run["parameters"]["experiment"]) == ("COMPLETED", "sr-x2")
