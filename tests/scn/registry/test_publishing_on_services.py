"""Publishing on each S3 service that runs here: many at once, one after the other, and what a user does wrong."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from scn.registry.publish import latest, publish, versions
from scn.storage import open_store
from scn.storage.base import Store
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
