"""The resize of photographs against MATLAB's imresize in float64."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scn.imaging.degradation import _CONTINUED, _cubic, bicubic_resize
from scn.imaging.resize import resized

SCALES = (Fraction(2), Fraction(7, 2), Fraction(7, 8), Fraction(3, 4), Fraction(1, 3))


def imresize(pixels: NDArray[Any], scale: Fraction) -> NDArray[Any]:
    """MATLAB's imresize(pixels, scale, 'bicubic'), which gives integers of the input's class after each axis."""
    kind = pixels.dtype
    for axis in (0, 1):
        rows = np.moveaxis(pixels.astype(np.float64), axis, 0)
        shrinking, length = min(float(scale), 1.0), -(-len(rows) * scale.numerator // scale.denominator)
        centre = np.arange(1, length + 1) / float(scale) + 0.5 * (1 - 1 / float(scale))
        taps = np.floor(centre - 2 / shrinking)[:, None] + np.arange(int(4 / shrinking) + 3)
        weights = _cubic(shrinking * (centre[:, None] - taps))
        weights /= weights.sum(axis=1, keepdims=True)
        sources = _CONTINUED["mirror"](taps.astype(np.int64) - 1, len(rows))
        whole = np.moveaxis(np.einsum("nt,nt...->n...", weights, rows[sources]), 0, axis)
        integers = kind != np.float32
        pixels = np.floor(whole.clip(0, np.iinfo(kind).max) + 0.5).astype(kind) if integers else whole
    return pixels


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(37, 52), (24, 31, 1), (33, 20, 3), (9, 4003)])
def test_16_bits_are_matlabs_to_two_steps(shape: tuple[int, ...], scale: Fraction) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2**16, shape, dtype=np.uint16)
    edges = np.where(rng.random(shape) < 0.5, 0, 65535).astype(np.uint16)  # overshoots, which are clipped
    for pixels in (noise, edges):
        result = resized(pixels, scale)
        assert result.dtype == np.uint16
        off = np.abs(result.astype(int) - imresize(pixels, scale))
        assert off.max() <= 2
        assert off.mean() < 0.01


@pytest.mark.parametrize("scale", SCALES)
def test_float32_is_matlabs_clipped_at_the_end(scale: Fraction) -> None:
    pixels = np.random.default_rng(0).random((37, 52, 3), np.float32)
    result = resized(pixels, scale)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, imresize(pixels, scale).clip(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
def test_8_bits_through_16_are_those_of_8_to_a_grey_level(scale: Fraction) -> None:
    pixels = np.where(np.random.default_rng(0).random((40, 30)) < 0.5, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(resized(pixels, scale), bicubic_resize(pixels, scale))
    through = resized(pixels * np.uint16(257), scale) / 257
    assert np.abs(through - resized(pixels, scale)).max() < 1.2
