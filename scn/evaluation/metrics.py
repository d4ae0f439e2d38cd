"""PSNR and SSIM of two images, in double precision."""

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
_SIGMA = 1.5
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2
_STRIP = 64  # rows filtered at a time: small enough to stay in the processor's cache


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB of two images of one shape, peak 255, at most PSNR_CAP.

    Raises ValueError if the shapes differ.
    """
    _same_shape(a, b)
    error = float(np.mean(np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64))))
    if error == 0:
        return PSNR_CAP
    return float(min(PSNR_CAP, 10 * np.log10(PEAK**2 / error)))


def ssim(a: Image, b: Image) -> float:
    """Structural similarity (Wang et al. 2004) of two images of one shape, -1..1; of colour images the channels' mean.

    11x11 Gaussian window of sigma 1.5, K1 0.01, K2 0.03, L 255, weighted moments without Bessel's correction, mean
    over the positions where the window lies inside the image: the authors' ssim_index.m without its downsampling.
    Raises ValueError if the shapes differ or a side is shorter than the window.
    """
    _same_shape(a, b)
    if min(a.shape[:2]) < WINDOW:
        raise ValueError(f"SSIM needs at least {WINDOW}x{WINDOW} pixels, not {a.shape[1]}x{a.shape[0]}")
    if a.ndim == 3:
        return float(np.mean([ssim(a[..., c], b[..., c]) for c in range(a.shape[2])]))
    height, width = a.shape[0] - WINDOW + 1, a.shape[1] - WINDOW + 1
    total = 0.0
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height) + WINDOW - 1)
        total += _ssim_sum(np.asarray(a[rows], np.float64), np.asarray(b[rows], np.float64))
    return total / (height * width)


def _ssim_sum(a: Image, b: Image) -> float:
    mean_a, mean_b = _blur(a), _blur(b)
    product = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    covariance = _blur(a * b) - product
    variances = _blur(a**2 + b**2) - squares  # only the sum of the two variances is asked for
    similarity = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(similarity.sum())


def _blur(image: Image) -> Image:
    """Gaussian window over (H, W), separably, valid positions: (H - 10, W - 10)."""
    for axis in (0, 1):
        image = sliding_window_view(image, WINDOW, axis) @ _WEIGHTS
    return image


def _gaussian() -> Image:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return weights / weights.sum()


_WEIGHTS = _gaussian()


def _same_shape(a: Image, b: Image) -> None:
    if a.shape != b.shape:
        raise ValueError(f"images of different shapes can't be compared: {a.shape} and {b.shape}")
