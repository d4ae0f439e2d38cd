"""Restores images of any size in limited memory, by overlapping tiles that are blended."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 512
"""Side of a tile in input pixels."""
OVERLAP = 32
"""Input pixels that neighbouring tiles share. Tiles start at multiples of it, so that the scales of a feature pyramid
(each half as large as the one before) sample the same pixels as in the whole image, up to 5 halvings."""

TileFunction = Callable[[NDArray[Any]], NDArray[np.float32]]
"""A function that restores a tile: (h, w, C) -> (scale * h, scale * w, C) float32, where 0 is black and 1 is white."""


def in_tiles(
    function: TileFunction,
    image: NDArray[Any],
    scale: int,
    to_uint8: Callable[[NDArray[np.floating]], NDArray[np.uint8]],
    tile: int = TILE,
) -> NDArray[np.uint8]:
    """Applies `function` to an image, in tiles if it has more than tile x tile pixels.

    Besides the image and the result, which are 8 bits, memory holds one row of tiles. Of the pixels that two tiles
    share, the outer quarter on either side is thrown away (the border affects it most) and the rest is blended
    linearly. The result is close to the whole image's, not equal: bilinear resampling with aligned corners, which
    the network's pyramid uses, depends on the size of what it resamples.

    Args:
        image: (H, W, C), of any type that `function` takes.
        scale: upscaling factor of `function`.
        to_uint8: converts restored values to 8 bits.
        tile: side of a tile in input pixels, more than 2 * OVERLAP; one at the end may be OVERLAP - 1 longer.
    Returns:
        (scale * H, scale * W, C) uint8.
    """
    height, width, channels = image.shape
    if height * width <= tile**2:
        return to_uint8(function(image))
    rows, columns = spans(height, tile), spans(width, tile)
    result = np.empty((scale * height, scale * width, channels), np.uint8)
    carry = np.empty((0, scale * width, channels), np.float32)  # the end of the row of tiles above
    for i, (top, bottom) in enumerate(rows):
        band = np.zeros((scale * (bottom - top), scale * width, channels), np.float32)
        for j, (left, right) in enumerate(columns):
            weights = _weights(columns, j, scale)[None, :, None]
            band[:, scale * left : scale * right] += weights * function(image[top:bottom, left:right])
        band *= _weights(rows, i, scale)[:, None, None]
        band[: len(carry)] += carry
        end = rows[i + 1][0] if i + 1 < len(rows) else bottom
        done = scale * (end - top)
        result[scale * top : scale * end] = to_uint8(band[:done])
        carry = band[done:]
    return result


def spans(size: int, tile: int) -> list[tuple[int, int]]:
    """Start and end (not included) of the tiles along a side of `size` pixels.

    All but the last are `tile` long; starts are multiples of OVERLAP; neighbours share OVERLAP pixels or more, and
    no pixel lies in three tiles.
    """
    step = (tile - OVERLAP) // OVERLAP * OVERLAP
    starts = [0]
    while starts[-1] + tile < size:
        last = (size - tile) // OVERLAP * OVERLAP  # so that the last tile is no sliver
        if last <= starts[-1]:
            break
        starts.append(min(starts[-1] + step, last))
    return [(start, start + tile) for start in starts[:-1]] + [(starts[-1], size)]


def _weights(parts: list[tuple[int, int]], i: int, scale: int) -> NDArray[np.float32]:
    """How much each output pixel of part i counts; over all parts a pixel's weights add up to 1."""
    start, end = parts[i]
    weights = np.ones(scale * (end - start), np.float32)
    if i > 0:
        ramp = _ramp(scale * (parts[i - 1][1] - start))
        weights[: len(ramp)] *= ramp
    if i + 1 < len(parts):
        ramp = _ramp(scale * (end - parts[i + 1][0]))
        weights[len(weights) - len(ramp) :] *= ramp[::-1]
    return weights


def _ramp(length: int) -> NDArray[np.float32]:
    """0 over the first quarter, then linear, 1 over the last quarter; ramp + reversed ramp = 1."""
    places = (np.arange(length) + 0.5) / length
    return np.clip(2 * places - 0.5, 0, 1).astype(np.float32)
