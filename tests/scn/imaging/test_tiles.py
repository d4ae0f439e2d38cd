"""An image in tiles is the image as a whole, as far as the function allows."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scn.imaging.degradation import to_uint8
from scn.imaging.tiles import OVERLAP, in_tiles, spans
from scn.inference.apply import apply
from scn.networks.build import build, fold


@pytest.mark.parametrize("tile", [128, 160, 512])
def test_spans_cover_every_pixel_once_or_twice(tile: int) -> None:
    for size in range(1, 1700, 7):
        parts = spans(size, tile)
        assert parts[0][0] == 0
        assert parts[-1][1] == size
        counts = np.zeros(size, int)
        for start, end in parts:
            assert start % OVERLAP == 0
            assert end - start <= tile + OVERLAP - 1
            counts[start:end] += 1
        assert set(counts) <= {1, 2}
        for (_, end), (start, _) in pairwise(parts):
            assert end - start >= OVERLAP
    assert spans(512, 512) == [(0, 512)]
    assert spans(1024, 512) == [(0, 512), (480, 992), (512, 1024)]


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(70, 300), (300, 70), (301, 333)])
def test_a_function_of_each_pixel_is_exact(photograph: Callable[..., Any], size: tuple[int, int], scale: int) -> None:
    image = photograph(*size)
    shapes = []

    def enlarge(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        shapes.append(tile.shape)
        return (tile / np.float32(255)).astype(np.float32).repeat(scale, 0).repeat(scale, 1)

    result = in_tiles(enlarge, image, scale, to_uint8, tile=128)
    assert np.array_equal(result, image.repeat(scale, 0).repeat(scale, 1))
    assert len(shapes) > 1
    assert max(height * width for height, width, _ in shapes) <= (128 + OVERLAP) ** 2


def test_a_small_image_is_one_call(photograph: Callable[..., Any]) -> None:
    calls = []
    image = photograph(64, 200)
    in_tiles(lambda tile: calls.append(tile.shape) or np.zeros(tile.shape, np.float32), image, 1, to_uint8, tile=128)
    assert calls == [(64, 200, 3)]


def test_a_network_shows_no_seams(photograph: Callable[..., Any]) -> None:
    """Results differ slightly, because resampling with aligned corners depends on the size of the network's input."""
    architecture = {"name": "scn", "blocks": 2, "units": 8, "width": 2, "scales": 3, "ratio": 0.5}
    network = fold(build({**architecture, "channels": 3, "scale": 2}, seed=0)).eval()

    def run(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        return apply(network, (tile / np.float32(255)).astype(np.float32)[None], torch.device("cpu"))[0]

    image = photograph(220, 290)
    whole = in_tiles(run, image, 2, to_uint8, tile=512).astype(int)
    tiled = in_tiles(run, image, 2, to_uint8, tile=128).astype(int)
    assert np.abs(whole - tiled).max() <= 1
    assert np.abs(whole - tiled).mean() < 0.2
