"""A process that lives long serves what the registry names now."""

import shutil
from typing import Any

import pytest

from scn.registry import following
from scn.registry.following import FollowingModels
from scn.registry.pointers import LATEST, move
from scn.registry.promote import rollback
from scn.registry.publish import publish
from scn.registry.reference import version_named
from scn.storage import open_store
from scn.storage.base import StoreError

NAME = "dn-s25"


@pytest.fixture
def project(small_project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two versions, of which the second is the latest."""
    for seed in range(2):
        small_project.add_model(NAME, seed)
        small_project.add_metrics(NAME, 27.0 + seed)
        publish(small_project.params, NAME)
    monkeypatch.setattr(following, "HEED_S", -1.0)
    return small_project


def test_a_version_that_was_taken_back_serves_no_longer(project: Any) -> None:
    models = FollowingModels("cpu", project.params.path)
    before = models.load(NAME)
    assert before.version == version_named(NAME, project.params.path) == "v2"
    assert models.load(NAME) is before
    pinned = models.load(f"{NAME}@v2")
    rollback(project.params, NAME, reason="it is bad")
    assert models.load(NAME).version == "v1"
    assert models.names(NAME) == f"{NAME}@v1"
    assert models.load(f"{NAME}@v2") is pinned


def test_it_is_not_asked_for_again_at_once(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    models = FollowingModels("cpu", project.params.path)
    models.load(NAME)
    monkeypatch.setattr(following, "HEED_S", 60.0)
    rollback(project.params, NAME, reason="it is bad")
    assert models.load(NAME).version == "v2"


def test_auto_chooses_from_what_is_published_now(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    models = FollowingModels("cpu", project.params.path)

    def names() -> list[str]:
        return [each.reference for each in models.candidates()]

    assert names() == [NAME]
    project.publish("car-q10")
    monkeypatch.setattr(following, "HEED_S", 60.0)
    assert names() == [NAME]  # not asked again at once
    monkeypatch.setattr(following, "HEED_S", -1.0)
    assert names() == ["car-q10", NAME]
    assert set(models.packed("auto").files) == {"car-q10", NAME}
    params = project.root / "params.yaml"
    written = params.read_text()
    for content in ("no: configuration", written.replace("file://store", "file://store/away")):
        params.write_text(content)
        assert names() == ["car-q10", NAME]


def test_what_can_not_be_loaded_is_told_once_while_what_was_loaded_serves(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    models = FollowingModels("cpu", project.params.path)
    before = models.load(NAME)
    project.of_a_newer_scn(NAME, "v1")
    move(open_store(project.params.storage.url, project.root), NAME, LATEST, lambda found: found.moved("v1", "by hand"))
    for _ in range(3):
        assert models.load(NAME) is before
    assert {version for version, _ in models.packed(NAME).files.values()} == {"v2"}  # what replicas get
    told = capsys.readouterr().err
    assert told.startswith(f"{NAME}: v2 serves on (")
    assert "holds a model that this version of scn does not know" in told
    assert told.count("\n") == 1


def test_what_was_loaded_serves_while_the_registry_is_away(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = FollowingModels("cpu", project.params.path)
    before = models.load(NAME)
    shutil.rmtree(project.root / "store/registry")
    assert models.load(NAME) is before
    capsys.readouterr()

    def away(*_: object) -> str:
        raise StoreError("No answer from http://user:secret@10.0.0.7: start the service.")

    models = FollowingModels("cpu", project.params.path)
    models.loaded[NAME] = before
    monkeypatch.setattr(following, "version_named", away)
    assert models.load(NAME) is before
    assert "(No answer from http://***@10.0.0.7: start the service.)" in capsys.readouterr().err
