"""The benchmark of restoring photographs: what it compares, and that all ways give an image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.utils.parametrize import is_parametrized

from benchmarks import restore
from scn.inference.model_files import load_model, save_model
from scn.networks.build import build

SMALL = {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2, "channels": 1, "scale": 1}


def test_padded_tiles_cover_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "TILE", 32)
    shapes = []

    def same(part: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(part.shape)
        return part

    pixels = np.random.default_rng(0).integers(0, 256, (70, 50)).astype(np.uint8)
    assert np.array_equal(restore.in_padded_tiles(same, pixels), pixels)
    assert shapes == [(42, 42), (42, 28), (48, 42), (48, 28), (16, 42), (16, 28)]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model "small", the only one that ships."""
    save_model(tmp_path / "small", build(SMALL, seed=0), SMALL, {"task": "dn", "level": 25})
    monkeypatch.setattr(restore.zoo, "FOLDER", tmp_path)
    return tmp_path / "small"


def test_the_published_form_is_in_nchw_and_normalises_while_it_runs(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = restore.as_published(small).network
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert layers
    assert all(is_parametrized(layer, "weight") and layer.weight.is_contiguous() for layer in layers)
    image = torch.rand(1, 1, 21, 34)
    with torch.inference_mode():
        torch.testing.assert_close(restore.as_published(small)(image), load_model(small)[0](image), atol=1e-5, rtol=0)
    calls = []
    monkeypatch.setattr(restore, "_published", lambda network, pixels: calls.append(network))
    restore.ways(restore.Model(small, "cpu"), np.zeros((8, 8), np.uint8))["whole, as published"]()
    assert [type(call) for call in calls] == [restore.Published]
    assert is_parametrized(calls[0].network.head, "weight")


def test_every_way_is_measured_against_the_whole_on_one_device(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    class Noted(restore.Model):
        def to(self, device: Any) -> Any:
            devices.append(device)
            return super().to(device)

    monkeypatch.setattr(restore, "Model", Noted)
    monkeypatch.setattr(restore, "TILE", 128)
    monkeypatch.setattr(restore, "peak_of_command", lambda *_: 1.0)
    monkeypatch.setattr(restore, "find_spec", lambda name: None)
    found = {str(row["way"]): row for row in restore.rows("small", 200, runs=1)}
    published = "whole, as published"
    assert list(found) == ["whole, float32", "tiles, float32", "tiles, bfloat16", published, "tiles as BasicSR's"]
    assert found["whole, float32"]["most_levels_off"] == 0
    assert found[published]["most_levels_off"] in (0, 1)
    assert found["tiles, float32"]["most_levels_off"] in (0, 1)
    assert devices == ["cpu"]
    assert found["tiles, float32"]["differ"] < found["tiles as BasicSR's"]["differ"]  # type: ignore[operator]
