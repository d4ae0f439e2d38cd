"""Restores images of any size in limited memory: overlapping tiles, of which the parts that saw enough are kept."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TILE = 1024
"""Side of a tile in input pixels, where memory allows."""
STEP = 32
"""Tiles start at multiples of so many pixels, or of more where a network needs them (step_for)."""

Place = tuple[int, int]
"""The row and the column of the image at which a tile starts."""
TileFunction = Callable[[NDArray[Any], Place], NDArray[np.float32]]
"""A function that restores a tile: (h, w, C) -> (scale * h, scale * w, C) float32, where 0 is black and 1 is white."""


class Span(NamedTuple):
    """A tile along one side of an image: it has pixels `start` to `end`, of which `first` to `last` are kept."""

    start: int
    end: int
    first: int
    last: int


def in_tiles(
    function: TileFunction,
    image: NDArray[Any],
    scale: int,
    finish: Callable[[NDArray[np.float32]], NDArray[Any]],
    *,
    tile: int,
    margin: int,
    step: int = STEP,
    done: Callable[[int], object] = lambda pixels: None,
) -> NDArray[Any]:
    """Applies `function` to an image, in tiles if it has more than tile x tile pixels.

    Besides the image and the result, memory holds one tile. What a tile lacks of its surroundings is seen up to
    `margin` pixels from its edge; so much is thrown away, and the rest is put together without blending.

    Args:
        image: (H, W, C), of any type that `function` takes.
        scale: upscaling factor of `function`.
        finish: converts restored values to those of the result.
        tile: side of a tile in input pixels; one at the end may be step - 1 longer, and all are longer than 2 margins.
        margin: in input pixels.
        step: tiles start at multiples of so many input pixels (step_for).
        done: is called with the number of input pixels that have been restored since the last call.
    Returns:
        (scale * H, scale * W, C), of the type that `finish` returns.
    """
    height, width, channels = image.shape
    if height * width <= tile**2:
        whole = finish(function(image, (0, 0)))
        done(height * width)
        return whole
    result: NDArray[Any] | None = None
    for top, bottom, first_row, last_row in spans(height, tile, margin, step):
        for left, right, first, last in spans(width, tile, margin, step):
            restored = function(image[top:bottom, left:right], (top, left))
            rows = slice(scale * (first_row - top), scale * (last_row - top))
            columns = slice(scale * (first - left), scale * (last - left))
            part = finish(restored[rows, columns])
            if result is None:
                result = np.empty((scale * height, scale * width, channels), part.dtype)
            result[scale * first_row : scale * last_row, scale * first : scale * last] = part
            done((last_row - first_row) * (last - first))
    assert result is not None
    return result


def step_for(multiple: int) -> int:
    """The least number of pixels, STEP or more, that is a multiple of `multiple`: tiles start at multiples of it.

    Where `multiple` is what all scales of a feature pyramid divide, they so have pixels at the same places as in the
    whole image.
    """
    return -(-STEP // multiple) * multiple


def spans(size: int, tile: int, margin: int, step: int = STEP) -> list[Span]:
    """The tiles along a side of `size` pixels: every pixel is kept of one, `margin` pixels or more from its edge.

    The edges of the image are no tile's edge: there a tile sees all that there is. All start at multiples of `step`.
    """
    tile = max(tile // step, -(-2 * margin // step) + 1) * step
    if size <= tile:
        return [Span(0, size, 0, size)]
    stride = max((tile - 2 * margin) // step * step, step)
    last = (size - tile) // step * step  # so that the last tile is no sliver
    starts = [*range(0, last, stride), last]
    ends = [start + tile for start in starts[:-1]] + [size]
    cuts = [0, *(start + margin for start in starts[1:]), size]
    return [Span(*each) for each in zip(starts, ends, cuts, cuts[1:], strict=False)]
