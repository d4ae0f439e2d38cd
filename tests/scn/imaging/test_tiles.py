"""An image in tiles is put together of parts that lie where they belong."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scn.imaging.degradation import to_uint8
from scn.imaging.tiles import STEP, Place, Span, in_tiles, spans, step_for


@pytest.mark.parametrize("step", [STEP, 81, 256])
@pytest.mark.parametrize("margin", [0, 20, 70])
@pytest.mark.parametrize("tile", [128, 160, 512])
def test_every_pixel_is_kept_once_and_far_from_the_edge_of_its_tile(tile: int, margin: int, step: int) -> None:
    for size in range(1, 1700, 7):
        parts = spans(size, tile, margin, step)
        assert (parts[0].first, parts[-1].last, parts[-1].end) == (0, size, size)
        assert all(before.last == after.first for before, after in pairwise(parts))
        for part in parts:
            assert part.start % step == 0
            assert part.end - part.start <= max(tile, 2 * margin + 2 * step) + step - 1
            assert part.start == 0 or part.first - part.start >= margin
            assert part.end == size or part.end - part.last >= margin
            assert part.first < part.last
    assert spans(512, 512, 20) == [Span(0, 512, 0, 512)]
    assert spans(1024, 512, 20) == [Span(0, 512, 0, 468), Span(448, 960, 468, 532), Span(512, 1024, 532, 1024)]


def test_tiles_start_where_all_scales_have_pixels() -> None:
    assert [step_for(multiple) for multiple in (1, 2, 8, 32, 64, 256, 3, 27, 81, 125)] == [
        *(32, 32, 32, 32, 64, 256),
        *(33, 54, 81, 125),
    ]


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(70, 300), (300, 70), (301, 333)])
def test_a_function_of_each_pixel_is_exact(photograph: Callable[..., Any], size: tuple[int, int], scale: int) -> None:
    image = photograph(*size)
    shapes, counted = [], []

    def enlarge(tile: NDArray[np.uint8], place: Place) -> NDArray[np.float32]:
        shapes.append(tile.shape)
        top, left = place
        assert np.array_equal(tile, image[top : top + tile.shape[0], left : left + tile.shape[1]])
        return (tile / np.float32(255)).astype(np.float32).repeat(scale, 0).repeat(scale, 1)

    result = in_tiles(enlarge, image, scale, to_uint8, tile=128, margin=16, done=counted.append)
    assert np.array_equal(result, image.repeat(scale, 0).repeat(scale, 1))
    assert len(shapes) > 1
    assert max(height * width for height, width, _ in shapes) <= (128 + STEP) ** 2
    assert sum(counted) == size[0] * size[1]


def test_a_small_image_is_one_call(photograph: Callable[..., Any]) -> None:
    calls = []

    def restore(tile: NDArray[np.uint8], place: Place) -> NDArray[np.float32]:
        calls.append((tile.shape, place))
        return np.zeros(tile.shape, np.float32)

    in_tiles(restore, photograph(64, 200), 1, to_uint8, tile=128, margin=16)
    assert calls == [((64, 200, 3), (0, 0))]
