"""The benchmark of restoring photographs: what it compares, and that all ways give an image."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import restore
from scn.imaging.tasks import TASKS
from scn.networks.build import build, fold

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


def test_every_way_is_measured_against_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fold(build(SMALL, seed=0)).eval().requires_grad_(False)

    class Small(restore.Model):
        def __init__(self, *_: Any) -> None:
            self.network, self.config, self.task, self.folder = network, {"architecture": SMALL}, TASKS["dn"], "small"

    monkeypatch.setattr(restore, "Model", Small)
    monkeypatch.setattr(restore, "TILE", 128)
    monkeypatch.setattr(restore, "peak_of_command", lambda *_: 1.0)
    monkeypatch.setattr(restore, "find_spec", lambda name: None)
    found = {str(row["way"]): row for row in restore.rows("small", 200, runs=1)}
    published = "whole, as published"
    assert list(found) == ["whole, float32", "tiles, float32", "tiles, bfloat16", published, "tiles as BasicSR's"]
    assert found["whole, float32"]["most_levels_off"] == 0
    assert found[published]["most_levels_off"] in (0, 1)
    assert found["tiles, float32"]["most_levels_off"] in (0, 1)
    assert found["tiles, float32"]["differ"] < found["tiles as BasicSR's"]["differ"]  # type: ignore[operator]
