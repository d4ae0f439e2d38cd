"""Bicubic enlargement and reduction of a photograph's pixels, of 8 and of 16 bits and of float32."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scn.imaging.degradation import bicubic_resize

_BEYOND = 8
"""Pixels that an image is continued by, its own mirror image, as MATLAB does."""
_FINEST = 1000
"""Largest denominator of a scale at which values are that exact; at others sharp edges of large images are off by
more."""


def resized(pixels: NDArray[Any], scale: Fraction) -> NDArray[Any]:
    """MATLAB's `imresize(image, scale, 'bicubic')`: bit for bit in 8 bits, in 16 to 2 steps, in float32 to 1e-5.

    Args:
        pixels: uint8, uint16 or float32 in [0, 1], (H, W), (H, W, 1) or (H, W, 3).
        scale: 1/4 or more.
    Returns:
        the same type, (ceil(H * scale), ceil(W * scale)) and channels.
    """
    if scale == 1:
        return pixels
    if pixels.dtype == np.uint8:
        one = pixels.ndim == 3 and pixels.shape[-1] == 1
        whole = bicubic_resize(pixels[..., 0] if one else pixels, scale)
        return whole[..., None] if one else whole
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    whole = np.stack([_resized_plane(planes[..., channel], scale) for channel in range(planes.shape[-1])], axis=-1)
    return whole if pixels.ndim == 3 else whole[..., 0]


def _resized_plane(plane: NDArray[Any], scale: Fraction) -> NDArray[Any]:
    """Along the height, then along the width, as MATLAB does: integers are clipped and rounded after each of them."""
    for axis in (0, 1):
        plane = _resized_axis(plane, axis, scale)
    return plane.clip(0, 1) if plane.dtype == np.float32 else plane


def _resized_axis(plane: NDArray[Any], axis: int, scale: Fraction) -> NDArray[Any]:
    """Pillow's bicubic kernel is MATLAB's, and in floating point it is exact; only the border is another."""
    side = plane.shape[axis]
    length = taken = math.ceil(side * scale)
    if scale.denominator <= _FINEST:  # up to a whole pixel, as Pillow rounds places to float32; the rest is cut off
        taken = math.ceil(Fraction(length, scale.numerator)) * scale.numerator
    beyond, end = math.ceil(_BEYOND / min(scale, Fraction(1))), taken / scale
    around = (beyond, beyond + math.ceil(end) - side)
    framed = np.pad(plane.astype(np.float32), (around, (0, 0)) if axis == 0 else ((0, 0), around), mode="symmetric")
    height, width = framed.shape
    size, box = ((width, taken), (0, beyond, width, float(beyond + end)))
    if axis == 1:
        size, box = ((taken, height), (beyond, 0, float(beyond + end), height))
    values = np.asarray(Image.fromarray(framed).resize(size, Image.Resampling.BICUBIC, box=box))
    values = values[:length] if axis == 0 else values[:, :length]
    if plane.dtype == np.float32:
        return values
    return np.floor(values.clip(0, 65535) + np.float32(0.5)).astype(np.uint16)
