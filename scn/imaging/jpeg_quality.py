"""The quality of JPEG, on the Independent JPEG Group's scale of 1 to 100: read from a file's tables."""

import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_NEAR = 0.35
"""Largest mean difference of two tables' logarithms that counts as the same quality: cameras have their own tables."""


def quality_of(tables: Mapping[int, Sequence[int]]) -> int | None:
    """The quality whose luma table is nearest to a file's; None if none is near.

    Args:
        tables: Pillow's `quantization`: number of the table -> 64 steps; the first is luma's.
    """
    steps = np.log(np.asarray(next(iter(tables.values())), np.float64).clip(1))
    off = {quality: float(np.abs(np.log(luma_steps(quality)) - steps).mean()) for quality in range(1, 101)}
    best = min(off, key=lambda quality: off[quality])
    return best if off[best] < _NEAR else None


@cache
def luma_steps(quality: int) -> NDArray[np.float64]:
    """The 64 quantisation steps of luma at a quality, in Pillow's order, row by row of frequencies."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image.quantization[0], np.float64)  # type: ignore[attr-defined]  # of JPEG alone
