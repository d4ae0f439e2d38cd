"""Geometric self-ensemble: the "+" of the SCN paper's tables (Timofte et al. 2016, Lim et al. 2017, section 3.4)."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HEIGHT, WIDTH = 2, 3
TOGETHER = 2**18
"""Pixels of input that go through the model at once on a GPU: up to so many, flips are stacked to one batch.

It depends on the image alone, not on free memory, so that a figure does not depend on what else a machine does. A CPU
takes one view after the other: there batches of four were up to a quarter slower (benchmarks.evaluation)."""
_FLIPS: tuple[tuple[int, ...], ...] = ((), (HEIGHT,), (WIDTH,), (HEIGHT, WIDTH))


def self_ensemble(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns the mean of the model's results for the 8 flips and rotations of the input, each turned back.

    Args:
        model: maps (N, C, H, W) to (N, C', sH, sW), for an input of any batch size, height and width.
        x: (N, C, H, W); need not be square: four of the eight go in as (N, C, W, H). On a GPU small inputs go through
            the model as batches of 2 N or 4 N (see TOGETHER).
    Returns:
        (N, C', sH, sW) float32, whatever the precision of the model's output.
    """
    pixels = len(x) * x.shape[HEIGHT] * x.shape[WIDTH]
    counts = (1,) if x.device.type == "cpu" else (4, 2, 1)
    together = next(count for count in counts if count * pixels <= TOGETHER or count == 1)
    total: Tensor | None = None
    for transposed in (False, True):
        turned = x.transpose(HEIGHT, WIDTH) if transposed else x
        for start in range(0, len(_FLIPS), together):
            flips = _FLIPS[start : start + together]
            batch = torch.cat([torch.flip(turned, _swapped(axes, transposed)) for axes in flips])
            for axes, y in zip(flips, model(batch).float().chunk(len(flips)), strict=True):
                back = torch.flip(y.transpose(HEIGHT, WIDTH) if transposed else y, axes)
                total = back if total is None else total + back
    assert total is not None
    return total / 8


Turn = Callable[[NDArray[Any]], NDArray[Any]]
"""Turns an image, (H, W, C)."""


def views() -> Iterator[tuple[Turn, Turn]]:
    """The 8 flips and rotations, each with what turns its result back; for images too large to be one input."""
    for transposed in (False, True):
        for axes in _FLIPS:
            yield partial(_turned, axes=axes, transposed=transposed), partial(_back, axes=axes, transposed=transposed)


def _turned(image: NDArray[Any], axes: tuple[int, ...], transposed: bool) -> NDArray[Any]:
    flipped = np.flip(image, tuple(axis - HEIGHT for axis in axes))
    return flipped.swapaxes(0, 1) if transposed else flipped


def _back(image: NDArray[Any], axes: tuple[int, ...], transposed: bool) -> NDArray[Any]:
    return np.flip(image.swapaxes(0, 1) if transposed else image, tuple(axis - HEIGHT for axis in axes))


def _swapped(axes: tuple[int, ...], transposed: bool) -> tuple[int, ...]:
    """The axes of a flip, in an image that is transposed or not."""
    return tuple(HEIGHT + WIDTH - axis for axis in axes) if transposed else axes
