"""The manifest: the hash that names the data, and the error for a file that is no manifest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scn.core.errors import UserError
from scn.shards.manifest import Manifest, load_manifest


@pytest.fixture
def manifest(small_project: Any) -> Manifest:
    return small_project.add_shards("dn-s25", {"a": np.zeros((20, 20), np.uint8)})


def test_the_hash_is_of_the_pixels_and_not_of_how_they_are_stored(manifest: Manifest) -> None:
    train = manifest.train.model_copy(update={"shards": [], "samples": 9, "converted": {"x": 1}})
    same = {"train": train, "made_with": {"pil": "another"}, "parameters": {"encoding": "png"}}
    assert manifest.model_copy(update=same).sha256 == manifest.sha256
    for field, value in {"content": "0" * 64, "images": 2, "corpora": {"other": "0" * 64}}.items():
        changed = manifest.train.model_copy(update={field: value})
        assert manifest.model_copy(update={"train": changed}).sha256 != manifest.sha256
        assert manifest.model_copy(update={"evaluation": {"sample/evaluation": changed}}).sha256 != manifest.sha256
    for field, value in {"level": 15, "task": "car", "experiment": "dn-s15"}.items():
        assert manifest.model_copy(update={field: value}).sha256 != manifest.sha256


def test_what_is_no_manifest_is_one_sentence(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(manifest.dumps())
    assert load_manifest(path) == manifest
    path.write_text(manifest.dumps().replace('"format": 3', '"format": 2'))
    with pytest.raises(UserError, match=r"manifest.json is no shard manifest of this version \(1 validation error"):
        load_manifest(path)
    with pytest.raises(UserError, match=r"can't be read \(Is a directory\)"):
        load_manifest(tmp_path)
