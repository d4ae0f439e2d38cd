"""The manifest: the hash that names the data, and the error for a file that is no manifest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scn.core.errors import UserError
from scn.shards.manifest import Manifests, load_manifest, write_manifests


@pytest.fixture
def manifests(small_project: Any) -> Manifests:
    return small_project.add_shards("dn-s25", {"a": np.zeros((20, 20), np.uint8)})


def test_the_hash_is_of_the_pixels_and_not_of_how_they_are_stored(manifests: Manifests) -> None:
    train, evaluation = manifests
    stored = {"shards": [], "samples": 9, "converted": {"x": 1}}
    same = {"made_with": {"pil": "another"}, "parameters": {"encoding": "png"}}
    sets = {name: images.model_copy(update=stored) for name, images in evaluation.sets.items()}
    assert train.model_copy(update={**stored, **same}).sha256 == train.sha256
    assert evaluation.model_copy(update={"sets": sets, **same}).sha256 == evaluation.sha256
    for field, value in {"content": "0" * 64, "images": 2, "corpora": {"other": "0" * 64}}.items():
        changed = {name: images.model_copy(update={field: value}) for name, images in evaluation.sets.items()}
        assert train.model_copy(update={field: value}).sha256 != train.sha256
        assert evaluation.model_copy(update={"sets": changed}).sha256 != evaluation.sha256
    for field, value in {"level": 15, "task": "car", "experiment": "dn-s15"}.items():
        for manifest in manifests:
            assert manifest.model_copy(update={field: value}).sha256 != manifest.sha256


def test_the_files_beside_the_manifests_hold_what_decides(manifests: Manifests, tmp_path: Path) -> None:
    write_manifests(tmp_path, manifests)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        *("evaluation.json", "evaluation.sha256", "train.json", "train.sha256")
    ]
    train, evaluation = manifests
    assert (tmp_path / "train.sha256").read_text() == f"{train.sha256}\n"
    assert (tmp_path / "evaluation.sha256").read_text() == f"{evaluation.sha256}\n"
    write_manifests(tmp_path, manifests, ordered=True)
    assert (tmp_path / "train.sha256").read_text() == f"{train.sha256}\n{train.order}\n"


def test_what_is_no_manifest_is_one_sentence(manifests: Manifests, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for manifest in manifests:
        path.write_text(manifest.dumps())
        assert load_manifest(path) == manifest
        path.write_text(manifest.dumps().replace('"format": 4', '"format": 3'))
        with pytest.raises(UserError, match=r"manifest.json is no shard manifest of this version \(format: input"):
            load_manifest(path)
    with pytest.raises(UserError, match=r"can't be read \(Is a directory\)"):
        load_manifest(tmp_path)
