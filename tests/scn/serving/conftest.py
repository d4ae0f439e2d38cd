"""The page of `scn serve` with two small models."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from served_page import LIMITS, Served

from scn.registry.reference import list_models
from scn.serving.app import make_app
from scn.serving.jobs import Jobs
from scn.serving.work import Restorer


@pytest.fixture
def published_models(small_project: Any) -> Path:
    """The params.yaml of a project that has published dn-s25 and sr-x2."""
    small_project.publish("dn-s25", "sr-x2")
    return Path(small_project.root / "params.yaml")


@pytest.fixture
def served(published_models: Path, tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o700)
    restorer = Restorer("cpu", published_models)

    def models() -> list[Any]:
        return list_models(params_file=published_models)

    jobs = Jobs(folder, [restorer], most=60, measured=lambda: [entry.name for entry in models()])
    app = make_app(jobs, restorer, models, LIMITS, ["127.0.0.1"])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(url=f"http://127.0.0.1:{port}/", jobs=jobs, params_file=published_models)
    server.should_exit = True
    thread.join(30)
    jobs.close()
