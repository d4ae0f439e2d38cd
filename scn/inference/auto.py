"""Chooses the model that fits a photograph: its quality of JPEG, read or estimated, and its noise, estimated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scn.imaging.image_io import Photograph
from scn.imaging.jpeg_quality import luma_steps

AUTO = "auto"
"""The name that stands for the model that fits."""
_PATCH = 8
_REGION, _MOST_REGIONS, _MOST_BLOCKS = 48, 64, 3_000
_CLIPPED = 0.03
"""Regions of which more is black or white tell too little noise."""
LEAST_SIGMA = 4.5
"""Noise below it is left alone: texture is taken for as much in one of ten clean photographs."""
LEFT_QUALITY, NOISE_FIRST_QUALITY = 90, 80
"""JPEG of at least the first quality is left alone; from the second one on, noise goes first where there is any."""
_REACHES = 0.85
"""A model for noise of this part of the level that was found is taken for it."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of a photograph's degradation."""

    quality: int | None
    """Quality of JPEG; None: it was not compressed, or too long ago to be seen."""
    read: bool
    """True: the quality stands in the file; False: it is estimated from the pixels."""
    sigma: float
    """Standard deviation of the noise, of 255."""

    def __str__(self) -> str:
        how = "of its tables" if self.read else "estimated"
        quality = f"JPEG quality {self.quality} ({how})" if self.quality else "no JPEG artifacts"
        return f"{quality}, noise of sigma {self.sigma:.1f} (estimated)"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that may be chosen."""

    reference: str
    task: str
    level: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What restores a photograph."""

    reference: str
    strength: float = 1.0
    """Of scn.inference.restore.Options; below 1 where there is less to restore than the model was made for."""

    def __str__(self) -> str:
        return self.reference + (f" at strength {self.strength:.2f}" if self.strength < 1 else "")


def examine(photograph: Photograph) -> Finding:
    """Finds the quality of JPEG and the noise of a photograph, from samples of it: that takes no memory to speak of."""
    pixels, white = photograph.pixels, photograph.white
    quality, read = photograph.quality, photograph.quality is not None
    if quality is None:
        quality = estimated_quality(pixels, white)
    sigmas = [noise_level(pixels[..., channel], white) for channel in range(pixels.shape[-1])]
    return Finding(quality=quality, read=read, sigma=float(np.median(sigmas)))


def choose(finding: Finding, candidates: Sequence[Candidate]) -> Choice | None:
    """What fits what was found; None: there is nothing to restore, as far as the candidates go.

    JPEG goes first where it is strong: noise that was compressed is not what a network for noise was trained on. The
    quality nearest on a logarithmic scale is taken; of the models for noise the smallest level that reaches it, as one
    that is too small leaves noise and costs more than one that is too large. Where there is less to restore than the
    model was made for, it is mixed with the photograph, for JPEG in the proportion of the quantisation steps: all of it
    would take texture along (benchmarks.auto).
    """
    quality = finding.quality or 100
    jpeg = [each for each in candidates if each.task == "car"]
    noise = [each for each in candidates if each.task == "dn"]
    if noise and finding.sigma >= LEAST_SIGMA and quality >= NOISE_FIRST_QUALITY:
        reaching = [each for each in noise if each.level >= _REACHES * finding.sigma]
        taken = min(reaching or [max(noise, key=lambda each: each.level)], key=lambda each: each.level)
        return Choice(reference=taken.reference, strength=noise_strength(finding.sigma, taken.level))
    if jpeg and quality < LEFT_QUALITY:
        taken = min(jpeg, key=lambda each: abs(np.log(each.level / quality)))
        steps = float(np.mean(luma_steps(quality)) / np.mean(luma_steps(taken.level)))
        return Choice(reference=taken.reference, strength=min(1.0, steps))
    return None


def noise_strength(sigma: float, level: int) -> float:
    """How much of what a model for noise of `level` makes is best for noise of `sigma`, 0..1.

    The photograph's error is the noise, sigma^2; the model's is texture that it takes for noise, about 5 * level by the
    best mixtures of 16 photographs of BSDS500/val. Two independent errors are least where each counts in proportion to
    the other; at its own level the model is best alone.
    """

    def share(noise: float) -> float:
        return noise**2 / (noise**2 + 5 * level)

    return min(1.0, share(sigma) / share(level))


def noise_level(channel: NDArray[Any], white: float = 255) -> float:
    """Standard deviation of white noise in a photograph (Chen, Zhu, Heng, ICCV 2015), by regions.

    Noise is everywhere, texture is not: of the estimates of regions of _REGION pixels that overlap by half, the lowest
    tenth counts, of those where little is black or white, which hides noise.

    Args:
        channel: (H, W).
        white: its value of white.
    Returns:
        The standard deviation, of 255; 0 for an image that is too small to tell.
    """
    tops, lefts = (range(0, max(1, side - _REGION + 1), _REGION // 2) for side in channel.shape)
    step = max(1, round((len(tops) * len(lefts) / _MOST_REGIONS) ** 0.5))
    places = [(top, left) for top in tops[step // 2 :: step] for left in lefts[step // 2 :: step]]
    regions = [channel[top : top + _REGION, left : left + _REGION] for top, left in places]
    parts = [region.astype(np.float64) * (255 / white) for region in regions]
    clipped = np.array([np.mean((part <= 0) | (part >= 255)) for part in parts])
    kept = [
        part for part, each in zip(parts, clipped, strict=True) if each <= max(_CLIPPED, np.quantile(clipped, 0.25))
    ]
    return float(np.quantile([_noise_level(part) for part in kept], 0.1))


def _noise_level(luma: NDArray[np.float64]) -> float:
    """That of one region.

    Patches of a clean image lie near a subspace, so that the smallest eigenvalues of their covariance are those of the
    noise alone: of the eigenvalues in descending order, the first tail whose mean is its median.
    """
    if min(luma.shape) < 2 * _PATCH:  # fewer patches than values of one
        return 0.0
    patches = np.lib.stride_tricks.sliding_window_view(luma, (_PATCH, _PATCH))
    chosen = patches.reshape(-1, _PATCH**2)
    values = np.sort(np.linalg.eigvalsh(np.cov(chosen, rowvar=False)))[::-1]
    for first in range(len(values) - 1):
        tail = values[first:]
        if tail.mean() <= np.median(tail):
            return float(np.sqrt(max(np.median(tail), 0.0)))
    return float(np.sqrt(max(values[-1], 0.0)))


def estimated_quality(pixels: NDArray[Any], white: float = 255) -> int | None:
    """The quality of JPEG that an image was once compressed with; None if none is seen.

    The coefficients of a decompressed image's blocks are near multiples of their quantisation steps. For every quality
    it is measured how much nearer they are than coefficients that know nothing of its steps; only blocks in place, from
    the upper left corner, are looked for, so a photograph that was cut or resized is taken for uncompressed.

    Args:
        pixels: (H, W), or (H, W, 1) or (H, W, 3).
        white: their value of white.
    """
    rows, columns = (side // 8 for side in pixels.shape[:2])
    if rows * columns < 16:
        return None
    places = np.arange(0, rows * columns, max(1, rows * columns // _MOST_BLOCKS))
    whole = pixels[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8, -1)
    sample = whole[places // columns, :, places % columns].astype(np.float64) * (255 / white)
    weights = (0.299, 0.587, 0.114) if sample.shape[-1] == 3 else (1.0,)
    blocks = np.tensordot(sample, weights, 1) - 128
    values = np.abs(_DCT @ blocks @ _DCT.T).reshape(-1, 64)
    scores: dict[int, float] = {}
    for quality in range(5, 96):
        steps = luma_steps(quality)
        parts = []
        for place in range(1, 64):
            step = steps[place]
            large = values[:, place]
            large = large[large > step / 2]  # what is rounded to 0 tells nothing
            if step >= 3 and len(large) >= 8:
                off = np.abs(large / step - np.rint(large / step))  # 0.25 for a coefficient that knows nothing
                parts.append((0.25 - off.mean()) * len(large) ** 0.5)
        if len(parts) >= 3:
            scores[quality] = float(np.mean(parts))
    if not scores:
        return None
    best = max(scores, key=lambda quality: scores[quality])
    return best if scores[best] > _CERTAIN else None


_CERTAIN = 1.0
"""How much nearer to multiples, in units of chance, coefficients have to be."""


def _dct_matrix() -> Any:
    k, n = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * (2 * n + 1) * k / 16) / 2
    matrix[0] /= 2**0.5
    return matrix


_DCT = _dct_matrix()
