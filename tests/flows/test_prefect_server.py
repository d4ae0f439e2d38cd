"""`make prefect-up`, a deployment run to its end, `make prefect-down`: with a real server, worker and all stages.

The store is an S3 service, and secrets are planted in the environment, of which nothing may be left.
"""

import json
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
from free_ports import free_ports
from planted import PLANTED, SECRET, left_in
from workspace import TINY, Workspace

from benchmarks.s3_service import s3_service

DATABASE, LOG = ".scn/prefect/home/prefect.db", ".scn/prefect/worker.log"
PASSWORD = ".scn/prefect/password"


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray writes its logs; the paths of its sockets must be short."""
    with tempfile.TemporaryDirectory(prefix="scn-") as folder:
        yield Path(folder)


@pytest.fixture
def port() -> int:
    return free_ports()


@pytest.fixture
def project(tmp_path: Path, ray_folder: Path, port: int) -> Iterator[Workspace]:
    """The project at its smallest, committed, with its store in the bucket of an S3 service."""
    project = Workspace(tmp_path / "project").fill()
    with s3_service() as variables:
        project.environment |= variables | PLANTED
        project.environment |= {"RAY_TMPDIR": str(ray_folder), "NO_PROXY": "127.0.0.1,localhost"}
        project.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        project.environment["PREFECT_WORKER_QUERY_SECONDS"] = "1"  # seconds between its looks for runs: 10, else
        # Another server's, as a user's shell may have it: `up` uses that of its own.
        assert "PREFECT_API_AUTH_STRING" in project.environment
        project.replace({"storage": {"url": "s3://bucket/store"}})
        project.commit()
        bucket(project).create()
        try:
            yield project
        finally:
            services(project, "down")


def bucket(project: Workspace) -> Any:
    """The bucket of the project's store, as boto3's resource."""
    known = {"aws_access_key_id": "test", "aws_secret_access_key": PLANTED["AWS_SECRET_ACCESS_KEY"]}
    s3 = boto3.resource("s3", endpoint_url=project.environment["AWS_ENDPOINT_URL"], region_name="us-east-1", **known)
    return s3.Bucket("bucket")


def services(project: Workspace, *arguments: str) -> str:
    return project.run("python", "-m", "flows.services", *arguments).stdout


def _password(project: Workspace) -> str:
    path = project.root / PASSWORD
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().strip()


def _asks_for_its_password(server: str, password: str) -> None:
    """Whoever may make a deployment and run it may run any command, and every web site reaches 127.0.0.1."""
    flow = {"name": "planted"}
    who = (password.partition(":")[0], password.partition(":")[2])
    with httpx.Client(base_url=f"{server}/api", trust_env=False, timeout=30) as client:
        assert client.get("/health").status_code == 200
        assert client.post("/flows/", json=flow).status_code == 401
        assert client.post("/flows/", json=flow, auth=("scn", "wrong")).status_code == 401
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        assert client.options("/flows/", headers={"Origin": "http://example.org", **asked}).status_code == 400
        assert client.options("/flows/", headers={"Origin": server, **asked}).status_code == 200
        assert client.post("/flows/", json=flow, auth=who).status_code == 201


@pytest.mark.integration
@pytest.mark.timeout(1800)
def test_a_deployment_run_publishes_a_version_and_leaves_no_secret(
    project: Workspace, port: int, tmp_path: Path, ray_folder: Path
) -> None:
    """Left are logs, artifacts, params, cards, dvc.lock, Prefect's database, the store, DVC's cache, Ray's logs."""
    printed = services(project, "up", "--port", str(port))
    assert printed.startswith(f"Prefect is up: http://127.0.0.1:{port} (")
    assert f"export PREFECT_API_URL=http://127.0.0.1:{port}/api\n" in printed
    assert '  export PREFECT_API_AUTH_STRING="$(cat .scn/prefect/password)"\n' in printed
    assert services(project, "up").startswith(f"Prefect is already up: http://127.0.0.1:{port} (")

    own = project.root / ".scn/prefect"
    started = [int((own / f"{name}.pid").read_text().split()[0]) for name in ("server", "worker")]
    listening = psutil.Process(started[0]).net_connections(kind="tcp")
    assert {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}

    password = _password(project)
    _asks_for_its_password(f"http://127.0.0.1:{port}", password)
    project.environment["PREFECT_API_AUTH_STRING"] = password
    done = project.run("prefect", "deployment", "run", "scn/train-sr-x2", "--watch", check=False)
    log = (project.root / LOG).read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert "Flow run finished successfully in 'Completed'" in done.stdout
    assert "Not part of this run" not in log  # all is committed

    stored = tmp_path / "stored"
    for entry in bucket(project).objects.all():
        path = stored / entry.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.get()["Body"].read())
    version = stored / "store/registry/sr-x2/v1"
    assert json.loads((version.parent / "latest.json").read_text())["version"] == "v1"
    assert json.loads((version / "manifest.json").read_text())["experiment"] == "sr-x2"
    assert json.loads((version / "config.json").read_text())["architecture"]["units"] == TINY["model"]["units"]
    assert not list((project.root / ".scn/flow-runs").iterdir())

    assert services(project, "down") == "Prefect is down: ended its worker and its server.\n"
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in started)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0

    assert {"git", DATABASE, LOG} <= left_in(project.root, b"sr-x2")  # what is looked into
    assert left_in(ray_folder, b"raylet")
    for folder in (project.root, stored, ray_folder):
        assert left_in(folder, SECRET.encode()) == set(), folder
        assert left_in(folder, password.encode()) <= {PASSWORD}, folder
    for secret in (SECRET, password):
        assert secret not in printed + done.stdout + done.stderr
