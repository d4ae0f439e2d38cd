"""Publishing on each S3 service that runs here: many at once, one after the other, and what a user does wrong."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scn.registry.publish import latest, publish, versions
from scn.storage import open_store
from scn.storage.base import Store, StoreError
from scn.storage.examine import examine

NAME = "dn-s25"
PUBLISHERS = 8


@pytest.fixture
def projects(make_project: Callable[..., Any], service_url: str, tmp_path: Path) -> list[Any]:
    """Projects with one store, each with the same model and figures."""
    made = []
    for number in range(PUBLISHERS):
        root = tmp_path / str(number)
        root.mkdir()
        made.append(make_project(root, service_url))
        made[-1].add_model(NAME)
        made[-1].add_metrics(NAME)
    return made


def publish_at_once(projects: list[Any]) -> list[str]:
    """The versions that were published, by project."""
    with ThreadPoolExecutor(len(projects)) as threads:
        return [receipt.version for receipt in threads.map(lambda project: publish(project.params, NAME), projects)]


def assert_whole(store: Store, number: int) -> str:
    """Every file of a version is what its manifest says; returns the SHA-256 of its weights."""
    folder = f"registry/{NAME}/v{number}"
    files = json.loads(store.get(f"{folder}/manifest.json"))["files"]
    for file, expected in files.items():
        assert hashlib.sha256(store.get(f"{folder}/{file}")).hexdigest() == expected["sha256"]
    return str(files["model.safetensors"]["sha256"])


def test_publishers_of_the_same_make_one_version_and_the_next_change_a_second(
    projects: list[Any], service_url: str
) -> None:
    assert set(publish_at_once(projects)) == {"v1"}
    store = open_store(service_url)
    assert versions(store, NAME) == [1]
    assert_whole(store, 1)
    projects[0].add_model(NAME, 1)
    projects[0].add_metrics(NAME, 31)
    assert publish(projects[0].params, NAME).version == "v2"
    assert latest(store, NAME) == "v2"


def test_publishers_of_different_models_never_mix(projects: list[Any], service_url: str) -> None:
    for seed, project in enumerate(projects):
        project.add_model(NAME, seed)
        project.add_metrics(NAME)
    published = publish_at_once(projects)
    store = open_store(service_url)
    assert len(set(published)) == PUBLISHERS
    assert [f"v{number}" for number in versions(store, NAME)] == sorted(published, key=lambda name: int(name[1:]))
    assert len({assert_whole(store, number) for number in versions(store, NAME)}) == PUBLISHERS
    assert latest(store, NAME) == f"v{max(versions(store, NAME))}"


def test_each_service_keeps_what_the_store_asks_of_it(service_url: str) -> None:
    store = open_store(service_url)
    rows = list(examine(store))
    assert {row.what for row in rows if row.found == "NOT kept"} == set()
    assert len(rows) == 11
    assert store.lacks() == ""
    assert store.list() == []


def test_a_missing_bucket_is_told_and_not_made(service_url: str) -> None:
    for use in (lambda store: store.reach(), lambda store: store.put("a", b"1")):
        with pytest.raises(StoreError, match=r"^s3://missing does not exist at \S+: create it"):
            use(open_store("s3://missing/prefix"))


def test_wrong_keys_are_told(service_url: str, monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    if "moto" in request.node.name:
        pytest.skip("moto takes any key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=r"refused access to \S+ \(SignatureDoesNotMatch\): check the AWS_\* keys"):
        open_store(service_url).reach()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(StoreError, match=r"refused access to \S+ \(InvalidAccessKeyId\): check the AWS_\* keys"):
        open_store(service_url).reach()


def test_a_clock_that_is_off_is_told(service_url: str, monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    if "moto" in request.node.name:
        pytest.skip("moto looks at no clock")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(StoreError, match="refused access, as the clock of this machine"):
        open_store(service_url).reach()
