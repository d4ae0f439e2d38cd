"""Starts and ends a Prefect server and one worker on this machine: `make prefect-up` and `make prefect-down`.

    python -m flows.services up [--port 4200] [--limit 1]
    python -m flows.services down

Everything they write is in .scn/prefect: the logs, the process ids, the password, and Prefect's home with its database,
so that a ~/.prefect stays as it is. The server listens on 127.0.0.1 only, and asks for the password: who may start a
flow run may run any command, and each user and each page in a browser of this machine reaches its ports.
"""

import argparse
import base64
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.deployments import POOL, PREFECT
from flows.environment import base_environment
from scn.core.errors import UserError, sentence
from scn.core.files import locked, write_atomically
from scn.core.loopback import HOST, check_free, no_proxy, opener
from scn.core.pipeline import check_installed, pipeline_needed
from scn.core.processes import Service

FOLDER = Path(".scn/prefect")
"""Folder of logs, process ids and Prefect's home, below the project's folder."""
URL_FILE = "api-url"
"""Name of the file in FOLDER that holds the API's URL."""
PASSWORD_FILE = "password"
"""Name of the file in FOLDER that holds name and password of the server, as Prefect's page and commands want them."""

_READY_SECONDS = 300.0


class Services:
    """The Prefect server and the worker of one project."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.folder = project / FOLDER
        self.server = Service("server", self.folder)
        self.worker = Service("worker", self.folder)

    def up(self, port: int, limit: int | None) -> str:
        """Starts the server and the worker, unless they run already, and returns the API's URL.

        If anything fails, what it has started is ended again.

        Args:
            port: port of the server, unless it runs already.
            limit: number of flow runs at the same time; None: 1, or what it is of a worker that runs already.
        Raises:
            UserError: if the port is taken, or the server, a deployment or the worker does not start.
        """
        check_installed("prefect")
        if not (self.project / "prefect.yaml").is_file():
            raise UserError(f"{self.project} has no prefect.yaml: run this in the project's folder.")
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        # A process started with `&` ignores SIGINT, and so would its children: a worker would then hang when it ends.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with locked(self.folder / "up.lock", lambda: _tell("waits for another `make prefect-up` to end")):
            self._make_password()
            return self._start(port, limit)

    def _start(self, port: int, limit: int | None) -> str:
        started: list[Service] = []
        try:
            if not self.server.runs():
                other = 4200 if port != 4200 else 4201
                check_free([port], f"name another one with `PREFECT_PORT={other}`")
                _tell("starts Prefect's server and a worker: a minute or two")
                started.append(self.server)
                self._start_server(port)
            url = self._url()
            # One that runs may be at its start still, where whoever started it was killed.
            self._wait(self.server, lambda: self._ask(f"{url}/health") is True)
            if not self.worker.runs():
                self._deploy(url)
                self._limit(url, limit or 1)
                started.append(self.worker)
                self._start_worker(url)
            elif limit is not None:
                self._limit(url, limit)
        except BaseException:
            for service in reversed(started):
                service.end()
            raise
        return url

    def down(self) -> list[str]:
        """Ends the worker with its flow runs, and the server; returns the names of those that ran."""
        return [service.name for service in (self.worker, self.server) if service.end()]

    def _make_password(self) -> None:
        """Makes the password, once: a shell that has it goes on to work after `down` and `up`."""
        path = self.folder / PASSWORD_FILE
        if path.is_file():
            return
        if self.server.runs():
            raise UserError(
                "Prefect's server has no password, or one that is not here any more: run `make prefect-down` first."
            )
        write_atomically(path, f"scn:{secrets.token_hex(16)}\n".encode(), private=True)

    def _start_server(self, port: int) -> None:
        url = f"http://{HOST}:{port}/api"
        (self.folder / URL_FILE).write_text(f"{url}\n")
        command = [*PREFECT, "server", "start", "--host", HOST, "--port", str(port)]
        asking = {
            "PREFECT_SERVER_API_AUTH_STRING": self._password(),
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": url.removesuffix("/api"),  # by default every site's
        }
        self.server.start(command, self.project, self._environment(url) | asking)

    def _deploy(self, url: str) -> None:
        log = self.folder / "deploy.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "flows.deployments"],
                cwd=self.project,
                env=self._environment(url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            lines = log.read_text(errors="replace").strip().splitlines()
            reason = lines[-1].removeprefix("flows: ") if lines else f"status {done.returncode}"
            raise UserError(f"The deployments could not be made ({reason.rstrip('.')}): see {self._relative(log)}.")

    def _limit(self, url: str, limit: int) -> None:
        """Lets the pool run so many flow runs at once; the worker obeys at once, and its runs go on."""
        pool = f"{url}/work_pools/{POOL}"
        self._ask(pool, {"concurrency_limit": limit}, "PATCH")
        if (self._ask(pool) or {}).get("concurrency_limit") != limit:
            raise UserError(
                f"The Prefect server does not take the limit of {limit} runs at once: see {self.server.log}."
            )

    def _start_worker(self, url: str) -> None:
        # A new name every time, as the server shows a worker that has just ended as online for a while.
        name = f"scn-{os.getpid()}-{int(time.time())}"
        command = [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--name", name]
        self.worker.start(command, self.project, self._environment(url))

        def online() -> bool:
            workers = self._ask(f"{url}/work_pools/{POOL}/workers/filter", {}) or []
            return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers)

        self._wait(self.worker, online)

    def _wait(self, service: Service, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            if not service.runs():
                raise UserError(f"Prefect's {service.name} ended at its start: see {self._relative(service.log)}.")
            if time.monotonic() > deadline:
                raise UserError(
                    f"Prefect's {service.name} is not ready after {_READY_SECONDS:.0f} s: "
                    f"see {self._relative(service.log)}."
                )
            time.sleep(0.2)

    def _environment(self, url: str) -> dict[str, str]:
        return {
            **base_environment(),
            "PREFECT_API_URL": url,
            "PREFECT_API_AUTH_STRING": self._password(),
            "PREFECT_HOME": str(self.folder / "home"),
            **no_proxy(),
            "NO_COLOR": "1",
        }

    def _url(self) -> str:
        return (self.folder / URL_FILE).read_text().strip()

    def _password(self) -> str:
        return (self.folder / PASSWORD_FILE).read_text().strip()

    def _ask(self, url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """The API's answer to a GET, a POST of `body`, or another method; None if it does not answer with JSON."""
        data = None if body is None else json.dumps(body).encode()
        who = base64.b64encode(self._password().encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {who}"}
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with opener().open(request, timeout=5) as answer:
                return json.load(answer)
        except (OSError, urllib.error.HTTPError, ValueError):
            return None

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self.project)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 1 after one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m flows.services", description="A Prefect server on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the server and a worker, and make the deployments")
    up.add_argument("--port", type=int, help="port of the server (default: $PREFECT_PORT, else 4200)")
    up.add_argument("--limit", type=int, help="flow runs at once, also while up (default: 1, or as it is)")
    commands.add_parser("down", help="end the server and the worker that `up` started")
    options = parser.parse_args(arguments)
    services = Services(Path.cwd())
    try:
        if options.command == "down":
            ended = services.down()
            print(f"Prefect is down: ended its {' and its '.join(ended)}." if ended else "Prefect was not up.")
            return 0
        if options.limit is not None and options.limit < 1:
            raise UserError(f"--limit: {options.limit} runs at once are none: give 1 or more.")
        already = services.server.runs() and services.worker.runs()
        url = services.up(options.port or _port(), options.limit)
    except (UserError, OSError) as error:
        _tell(sentence(error))
        return 1
    prefect = Path(sys.executable).parent / "prefect"
    command = prefect.relative_to(Path.cwd()) if prefect.is_relative_to(Path.cwd()) else prefect
    limited = f", {options.limit} at once" if options.limit else ""
    print(f"Prefect is {'already ' if already else ''}up: {url.removesuffix('/api')} (logs in {FOLDER}{limited})")
    print(f"  export PREFECT_API_URL={url}")
    print(f'  export PREFECT_API_AUTH_STRING="$(cat {FOLDER / PASSWORD_FILE})"')  # the page asks for the same words
    if {"http", "all"} & urllib.request.getproxies().keys():
        for name, value in no_proxy().items():
            print(f"  export {name}={shlex.quote(value)}")
    print(f"  {shlex.quote(str(command))} deployment run scn/train-sr-x2 --watch")
    return 0


def _tell(text: str) -> None:
    print(f"flows: {text}", file=sys.stderr)


def _port() -> int:
    text = os.environ.get("PREFECT_PORT", "4200")
    if not text.isdecimal():
        raise UserError(f"PREFECT_PORT is '{text}': set it to the number of a free port, such as 4201.")
    return int(text)


if __name__ == "__main__":
    with pipeline_needed("flows"):
        sys.exit(main())
