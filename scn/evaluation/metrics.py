"""PSNR, SSIM and PSNR-B of two images, in double precision."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Image = NDArray[Any]
"""An image (H, W) or (H, W, C) of any real type, values in 0..255."""

PEAK = 255.0
PSNR_CAP = 100.0
"""PSNR of identical images in dB: JSON has no infinity, and one such image must not turn a mean into one."""

WINDOW = 11
"""Side of SSIM's Gaussian window in pixels."""
UNIFORM_WINDOW = 8
"""Side of SSIM-8's uniform window in pixels."""
BLOCK = 8
"""Side of JPEG's blocks in pixels."""
_SIGMA = 1.5
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2
_STRIP = 64  # rows filtered at a time: small enough to stay in the processor's cache


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB of two images of one shape, peak 255, at most PSNR_CAP.

    Raises ValueError if the shapes differ.
    """
    return _decibels(_mean_squared_error(a, b))


def psnr_b(restored: Image, original: Image) -> float:
    """PSNR-B in dB of a restored image: PSNR whose error counts the block edges that are left, at most PSNR_CAP.

    Yim and Bovik, Quality assessment of deblocked images, IEEE Transactions on Image Processing 20 (2011), equations 12
    to 17: the mean squared difference of neighbouring pixels of `restored` across the edges of JPEG's 8x8 blocks, less
    that of all other neighbours, times log2(8) / log2(the shorter side), is added to the mean squared error where it is
    above 0.

    Args:
        restored: (H, W), grey, cut into blocks from its upper left corner.
        original: (H, W).
    Raises:
        ValueError: if the shapes differ, the images have channels, or a side is not longer than a block.
    """
    error = _mean_squared_error(restored, original)
    if restored.ndim != 2 or min(restored.shape) <= BLOCK:
        raise ValueError(f"PSNR-B needs grey images of more than {BLOCK}x{BLOCK} pixels, not {restored.shape}")
    at_edges, elsewhere, edges, others = 0.0, 0.0, 0, 0
    for axis in (0, 1):
        squares = np.square(np.diff(np.asarray(restored, np.float64), axis=axis))
        if axis == 1:
            squares = squares.T
        edge = squares[BLOCK - 1 :: BLOCK]
        at_edges, edges = at_edges + float(edge.sum()), edges + edge.size
        elsewhere, others = elsewhere + float(squares.sum() - edge.sum()), others + squares.size - edge.size
    blocking = at_edges / edges - elsewhere / others
    weight = np.log2(BLOCK) / np.log2(min(restored.shape))
    return _decibels(error + max(0.0, float(weight * blocking)))


def ssim(a: Image, b: Image) -> float:
    """Structural similarity (Wang et al. 2004) of two images of one shape, -1..1; of colour images the channels' mean.

    11x11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, L 255, weighted moments without Bessel's correction, mean
    over the positions where the window lies inside the image: the authors' ssim_index.m without its downsampling.
    Raises ValueError if the shapes differ or a side is shorter than the window.
    """
    return _ssim(a, b, _GAUSSIAN)


def ssim8(a: Image, b: Image) -> float:
    """SSIM with a uniform 8x8 window, as the columns JPEG, SA-DCT and ARCNN of the SCN paper's table 3 have it.

    Otherwise as `ssim`: -1..1, of colour images the channels' mean; it is some 0.01 to 0.02 above `ssim` there.
    Raises ValueError if the shapes differ or a side is shorter than the window.
    """
    return _ssim(a, b, _UNIFORM)


def _ssim(a: Image, b: Image, weights: Image) -> float:
    _same_shape(a, b)
    window = len(weights)
    if min(a.shape[:2]) < window:
        raise ValueError(f"SSIM needs at least {window}x{window} pixels, not {a.shape[1]}x{a.shape[0]}")
    if a.ndim == 3:
        return float(np.mean([_ssim(a[..., c], b[..., c], weights) for c in range(a.shape[2])]))
    height, width = a.shape[0] - window + 1, a.shape[1] - window + 1
    total = 0.0
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height) + window - 1)
        total += _ssim_sum(np.asarray(a[rows], np.float64), np.asarray(b[rows], np.float64), weights)
    return total / (height * width)


def _ssim_sum(a: Image, b: Image, weights: Image) -> float:
    mean_a, mean_b = _blur(a, weights), _blur(b, weights)
    product = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    covariance = _blur(a * b, weights) - product
    variances = _blur(a**2 + b**2, weights) - squares  # only the sum of the two variances is asked for
    similarity = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(similarity.sum())


def _blur(image: Image, weights: Image) -> Image:
    """A separable window over (H, W), valid positions: (H - n + 1, W - n + 1) for n weights."""
    for axis in (0, 1):
        image = sliding_window_view(image, len(weights), axis) @ weights
    return image


def _gaussian() -> Image:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


_GAUSSIAN = _gaussian()
_UNIFORM = np.full(UNIFORM_WINDOW, 1 / UNIFORM_WINDOW)


def _mean_squared_error(a: Image, b: Image) -> float:
    _same_shape(a, b)
    return float(np.mean(np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64))))


def _decibels(error: float) -> float:
    if error == 0:
        return PSNR_CAP
    return float(min(PSNR_CAP, 10 * np.log10(PEAK**2 / error)))


def _same_shape(a: Image, b: Image) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images of different shapes can't be compared: {a.shape} and {b.shape}")
