"""A PostgreSQL server of Debian's package, on this machine for a while."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from free_ports import free_ports


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    """A running server, with a user `prefect`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def url(self, database: str) -> str:
        """The address of a database, as SQLAlchemy has it."""
        return f"postgresql+asyncpg://prefect:word@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *words: str) -> str:
        """Runs a client's program as the user prefect, and returns what it prints."""
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--username", "prefect"]
        return _run(self.folder, program, *place, *words, PGPASSWORD="word")


@contextmanager
def serving() -> Iterator[Postgres]:
    """Starts a server, which ends with the context, on a free port of 127.0.0.1."""
    folder, port = Path(tempfile.mkdtemp(prefix="scn-postgres-")), free_ports()
    (folder / "password").write_text("word")
    if not os.geteuid():  # it refuses to run as root
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
    data = str(folder / "data")
    secret = ["--auth", "scram-sha-256", "--pwfile", str(folder / "password")]
    try:
        _run(folder, "initdb", "--pgdata", data, "--username", "prefect", *secret)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        _run(folder, "pg_ctl", "start", "--wait", "--pgdata", data, "--log", str(folder / "log"), "--options", options)
        try:
            yield Postgres(folder, port)
        finally:
            _run(folder, "pg_ctl", "stop", "--pgdata", data, "--mode", "fast")
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, program: str, *words: str, **variables: str) -> str:
    found = programs()
    assert found
    user = [] if os.geteuid() else ["runuser", "--user", "postgres", "--"]
    with (folder / "printed").open("w+") as printed:  # not a pipe, which the server would keep open
        done = subprocess.run(
            [*user, found / program, *words],
            cwd="/",
            env={**os.environ, **variables},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        printed.seek(0)
        text = printed.read()
    assert done.returncode == 0, text
    return text
