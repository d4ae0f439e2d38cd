"""Prefect's server is away for a minute while a flow run is going on, of the deployment scn/train-sr-x2 by a worker."""

import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.faults.event import Event, outcome_of
from benchmarks.faults.kills import undisturbed
from benchmarks.faults.project import MEND, NAME, Project, full_name, last_sentence
from benchmarks.faults.running import LIMIT_S, Running

PART = "prefect"
AWAY_S = 60.0
DISTURBED = ("shard", "train", "evaluate")
"""Stages at whose beginning the server is killed; the run goes on to others while it is away."""
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
DEPLOYMENT = f"scn/train-{NAME}"


def away(folder: Path) -> Iterator[Event]:
    """Kills the server at the beginning of each of DISTURBED, starts it again a minute later, and waits for the run."""
    project = Project(folder)
    project.make(ray=False)
    _, results = undisturbed(project)
    for stage in DISTURBED:
        project.restore("before-")
        with services(project) as api:
            yield _away(project, results, api, stage)


@contextmanager
def services(project: Project) -> Iterator[str]:
    """Context with a server and a worker of the project; gives the URL of the API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    project.here.commit()
    project.here.environment |= {"PREFECT_PORT": port, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    project.here.run(*_services("up"))
    project.here.environment["PREFECT_API_AUTH_STRING"] = (project.root / ".scn/prefect/password").read_text().strip()
    try:
        yield project.here.environment["PREFECT_API_URL"]
    finally:
        project.here.run(*_services("down"), check=False)


def _services(command: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "flows.services", command)


def _away(project: Project, results: Mapping[str, str | bytes], api: str, stage: str) -> Event:
    printed = project.here.run("prefect", "deployment", "run", DEPLOYMENT).stdout
    if not (found := re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", printed)):
        raise RuntimeError(f"Prefect started nothing:\n{printed}")
    log = project.root / ".scn/prefect/worker.log"
    begun = _wait(lambda: f"Running stage '{full_name(stage)}'" in log.read_text(errors="replace"))
    name, _, password = project.here.environment["PREFECT_API_AUTH_STRING"].partition(":")
    state: dict[str, Any] = {}

    def over() -> bool:
        run = httpx.get(f"{api}/flow_runs/{found[0]}", auth=(name, password), timeout=30, trust_env=False)
        state.update(run.json()["state"])
        return state["type"] in FINAL

    dealt = begun and not over()
    server = psutil.Process(int((project.root / ".scn/prefect/server.pid").read_text().split()[0]))
    for process in (*server.children(recursive=True), server):
        process.kill()
    time.sleep(AWAY_S)
    project.here.run(*_services("up"))
    wrong = [] if _wait(over) else [f"the run is {state['name']} after {LIMIT_S:g} s"]
    project.here.run(*MEND)
    again = Running(project)
    if again.end():
        wrong.append(f"the re-run failed: {last_sentence(again.printed)}")
    wrong += project.faults(results)
    ended = state["type"] == "COMPLETED"
    return Event(
        part=PART,
        fault=f"Prefect's server is away for {AWAY_S:g} s",
        stage=stage,
        outcome=outcome_of(wrong, int(not ended), dealt),
        told="" if ended else str(state["message"]),
        note="; ".join([f"the run ended as {state['name']}", *wrong]),
    )


def _wait(ready: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LIMIT_S
    while not (done := ready()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return bool(done)
