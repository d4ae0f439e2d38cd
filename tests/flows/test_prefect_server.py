"""`make prefect-up`, a deployment run to its end, `make prefect-down`: with a real server, worker and all stages."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.flows.conftest import commit_all, run

ROOT = Path(__file__).parents[2]
TINY = {
    "model": {"blocks": 1, "units": 4, "width": 2, "scales": 2},
    "train": {
        "batch_size": 4,
        "patch_size": 16,
        "patches_per_image": 4,
        "epochs": 1,
        "hold_epochs": 0,
        "precision": "float32",
    },
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of this project with the smallest of settings, committed."""
    root = tmp_path / "project"
    for name in run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    params = yaml.safe_load((root / "params.yaml").read_text())
    for section, values in TINY.items():
        params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (root / "dvc.lock").unlink(missing_ok=True)
    run(root, "git", "init", "--quiet")
    commit_all(root)
    return root


def services(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.services", *arguments], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def server(project: Path) -> Iterator[tuple[str, int]]:
    """The output of `python -m flows.services up`, and the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        yield services(project, "up", "--port", str(port)), port
    finally:
        services(project, "down")


@pytest.mark.integration
def test_a_deployment_run_publishes_a_version(project: Path, server: tuple[str, int]) -> None:
    printed, port = server
    api = f"http://127.0.0.1:{port}/api"
    assert printed.startswith(f"Prefect is up: http://127.0.0.1:{port} (")
    assert f"export PREFECT_API_URL={api}\n" in printed
    assert services(project, "up").startswith(f"Prefect is already up: http://127.0.0.1:{port} (")

    started = [int((project / f".scn/prefect/{name}.pid").read_text().split()[0]) for name in ("server", "worker")]
    listening = psutil.Process(started[0]).net_connections(kind="tcp")
    assert {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}

    done = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "run", "scn/train-sr-x2", "--watch"],
        cwd=project,
        env={**os.environ, "PREFECT_API_URL": api, "PREFECT_HOME": str(project / ".scn/prefect/home")},
        capture_output=True,
        text=True,
    )
    log = (project / ".scn/prefect/worker.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert "Flow run finished successfully in 'Completed'" in done.stdout
    assert "Not part of this run" not in log  # all is committed

    version = project / ".scn/store/registry/sr-x2/v1"
    assert json.loads((version.parent / "latest.json").read_text())["version"] == "v1"
    assert json.loads((version / "manifest.json").read_text())["experiment"] == "sr-x2"
    assert json.loads((version / "config.json").read_text())["architecture"]["units"] == TINY["model"]["units"]
    assert not list((project / ".scn/flow-runs").iterdir())

    assert services(project, "down") == "Prefect is down: ended its worker and its server.\n"
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in started)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
