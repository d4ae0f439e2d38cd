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


def resized(pixels: NDArray[Any], scale: Fraction) -> NDArray[Any]:
    """MATLAB's `imresize(image, scale, 'bicubic')`: bit for bit in 8 bits, in 16 bits to a step, in float32 to 1e-5.

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
    """Pillow's bicubic kernel is MATLAB's, and in floating point it is exact; only the border is another."""
    height, width = (math.ceil(side * scale) for side in plane.shape)
    beyond = math.ceil(_BEYOND / min(scale, Fraction(1)))
    framed = Image.fromarray(np.pad(plane.astype(np.float32), beyond, mode="symmetric"))
    box = (beyond, beyond, beyond + float(width / scale), beyond + float(height / scale))
    values = np.asarray(framed.resize((width, height), Image.Resampling.BICUBIC, box=box))
    if plane.dtype == np.float32:
        return np.clip(values, 0, 1)
    return np.rint(np.clip(values, 0, 65535)).astype(np.uint16)
