"""Fixtures for every test: an S3 service of their own, and stores of both kinds."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.s3_service import s3_service

# Networks are tiny here: a second thread costs more than it gives, on a busy machine many times more.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
    import boto3

    name = f"bucket-{uuid.uuid4().hex}"
    boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.integration)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, of each kind in turn."""
    if request.param == "file":
        return f"file://{tmp_path / 'store'}"
    return f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix"
