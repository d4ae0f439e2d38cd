"""Several models, one after the other, and a factor that no network has."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import isfinite, prod

import numpy as np

from scn.core import memory
from scn.core.errors import UserError
from scn.imaging.image_io import Photograph, to_8_bits
from scn.imaging.resize import resized
from scn.inference.handle import Model
from scn.inference.restore import Done, Options
from scn.inference.tiled import Portion

_RESIZING = 12  # bytes that a bicubic resize takes for each value of its result
FACTORS = (Fraction(3, 2), Fraction(16))
"""The smallest and the largest factor that an image is enlarged by."""


def restore_by(
    models: Sequence[Model],
    photograph: Photograph,
    options: Options,
    *,
    strengths: Sequence[float] | None = None,
    factor: Fraction | None = None,
    name: str = "the image",
    done: Done = lambda pixels: None,
) -> Photograph:
    """Restores a photograph by models, the first one first, and brings it to the size that was asked for.

    Between models, and before the last resize, pixels have 16 bits, so that nothing is rounded twice.

    Args:
        strengths: of each model, by which options.strength is multiplied; None: 1.
        factor: the result's height and width relative to the photograph's; what the models don't enlarge by is
            enlarged or reduced as MATLAB's bicubic imresize does; None: what the models give.
        name: what errors call the image.
        done: counts pixels of the photograph.
    Raises:
        UserError: as scn.inference.restore.restore_photograph.
    """
    eight = photograph.white == 255
    rest = factor / total_scale(models) if factor else Fraction(1)
    # A network that sees 16 bits computes as it would for 8.
    options = replace(options, precision=options.precision or ("bfloat16" if eight else "float32"))
    if rest != 1:
        height, width = (round(side * factor) for side in photograph.pixels.shape[:2]) if factor else (0, 0)
        values = height * width * photograph.pixels.shape[2]
        memory.require(_RESIZING * values, f"{name} becomes {width}x{height} pixels")
    if eight and (len(models) > 1 or rest != 1):
        photograph = _deep(photograph)
    size = photograph.pixels.shape[0] * photograph.pixels.shape[1]
    for model, strength in zip(models, strengths or [1.0] * len(models), strict=True):
        height, width = photograph.pixels.shape[:2]
        counted = Portion(done, size, height * width * len(models))
        mixed = replace(options, strength=options.strength * strength)
        photograph = model.restore_photograph(photograph, name, mixed, counted)
    if rest != 1:
        alpha = None if photograph.alpha is None else resized(photograph.alpha, rest)
        photograph = replace(photograph, pixels=resized(photograph.pixels, rest), alpha=alpha)
    return _shallow(photograph) if eight and photograph.white > 255 else photograph


def total_scale(models: Sequence[Model]) -> int:
    """The factor by which models enlarge, one after the other."""
    return prod(model.scale for model in models)


def check_factor(factor: float, called: str) -> Fraction:
    """The factor as a fraction. Raises UserError, by what it is `called`, if it is not between those of FACTORS."""
    exact = Fraction(str(factor)) if isfinite(factor) else Fraction(0)
    if not FACTORS[0] <= exact <= FACTORS[1]:
        raise UserError(f"{called}: {factor:g} is out of range: give {float(FACTORS[0]):g} to {float(FACTORS[1]):g}.")
    return exact


def _deep(photograph: Photograph) -> Photograph:
    """The same with 16 bits: 255 becomes 65535."""
    alpha = None if photograph.alpha is None else photograph.alpha * np.uint16(257)
    return replace(photograph, pixels=photograph.pixels * np.uint16(257), alpha=alpha)


def _shallow(photograph: Photograph) -> Photograph:
    alpha = None if photograph.alpha is None else to_8_bits(photograph.alpha)
    return replace(photograph, pixels=to_8_bits(photograph.pixels), alpha=alpha)
