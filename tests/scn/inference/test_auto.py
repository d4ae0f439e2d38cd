"""What is found of a photograph's degradation, and the model that fits it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scn.imaging.degradation import jpeg
from scn.imaging.image_io import Photograph
from scn.inference.auto import Candidate, Finding, choose, estimated_quality, examine, noise_level

MODELS = [Candidate(reference=f"dn-s{level}", task="dn", level=level) for level in (15, 25, 50)] + [
    Candidate(reference=f"car-q{quality}", task="car", level=quality) for quality in (10, 20, 30, 40)
]


def smooth(height: int, width: int) -> Any:
    """A photograph's large shapes: (height, width) from 0 to 255, with edges."""
    y, x = np.mgrid[:height, :width]
    return 128 + 70 * np.sin(x / 23) * np.cos(y / 17) + 40 * ((x // 31 + y // 41) % 2)


@pytest.mark.parametrize("sigma", [10, 15, 25, 50])
def test_noise_is_estimated(sigma: int) -> None:
    noisy = smooth(160, 200) + np.random.default_rng(0).normal(0, sigma, (160, 200))
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.1)


def test_a_clean_image_has_no_noise() -> None:
    assert noise_level(smooth(160, 200)) < 1


def test_texture_is_not_taken_for_noise() -> None:
    """Half of the image is texture that no smooth image has."""
    image = smooth(256, 256)
    image[:, 128:] += np.random.default_rng(0).normal(0, 30, (256, 128))
    assert noise_level(image) < 1
    noisy = image + np.random.default_rng(1).normal(0, 15, image.shape)
    assert noise_level(noisy) == pytest.approx(15, rel=0.1)


@pytest.mark.parametrize("quality", [10, 20, 40, 75])
def test_the_quality_of_jpeg_is_estimated_from_pixels(photograph: Callable[..., Any], quality: int) -> None:
    compressed = jpeg(photograph(160, 200, 1)[..., 0], quality)
    assert estimated_quality(compressed.astype(float)) == pytest.approx(quality, abs=2)


def test_what_was_never_compressed_is_known(photograph: Callable[..., Any]) -> None:
    assert estimated_quality(photograph(160, 200, 1)[..., 0].astype(float)) is None
    assert estimated_quality(np.zeros((160, 200))) is None
    assert estimated_quality(np.zeros((8, 8))) is None
    assert noise_level(np.zeros((8, 8), np.uint8)) == 0


def test_the_file_goes_before_the_pixels(photograph: Callable[..., Any]) -> None:
    pixels = photograph(64, 64)
    found = examine(Photograph(pixels=pixels, alpha=None, icc_profile=None, quality=12))
    assert (found.quality, found.read) == (12, True)
    assert str(found).startswith("JPEG quality 12 (of its tables), noise of sigma ")
    deep = examine(Photograph(pixels=pixels.astype(np.uint16) * 257, alpha=None, icc_profile=None))
    assert deep.quality is None
    assert deep.sigma == pytest.approx(found.sigma, rel=1e-6)


@pytest.mark.parametrize(
    ("quality", "sigma", "expected", "strength"),
    [
        (8, 30.0, "car-q10", 1.0),
        (15, 0.0, "car-q20", 1.0),
        (40, 9.0, "car-q40", 1.0),
        (75, 30.0, "car-q40", 0.40),
        (85, 30.0, "dn-s50", 0.86),  # compressed so little, noise is what is left of
        (85, 3.0, "car-q40", 0.24),
        (95, 0.0, None, 0.0),
        (95, 24.0, "dn-s25", 0.99),
        (None, 4.4, None, 0.0),
        (None, 5.0, "dn-s15", 0.33),
        (None, 10.0, "dn-s15", 0.76),
        (None, 17.0, "dn-s15", 1.0),
        (None, 20.0, "dn-s25", 0.91),  # the one for 15 would leave noise
        (None, 35.0, "dn-s50", 0.91),
        (None, 90.0, "dn-s50", 1.0),
    ],
)
def test_the_model_that_fits(quality: int | None, sigma: float, expected: str | None, strength: float) -> None:
    chosen = choose(Finding(quality=quality, read=False, sigma=sigma), MODELS)
    assert (chosen and chosen.reference) == expected
    assert (chosen.strength if chosen else 0) == pytest.approx(strength, abs=0.015)
    assert choose(Finding(quality=quality, read=False, sigma=sigma), []) is None


def test_a_choice_tells_its_strength() -> None:
    assert str(choose(Finding(quality=None, read=False, sigma=7.5), MODELS)) == "dn-s15 at strength 0.57"
    assert str(choose(Finding(quality=None, read=False, sigma=15.0), MODELS)) == "dn-s15"


def test_black_and_white_hide_no_noise() -> None:
    """Half of the image is black, where noise is cut off, and a third white."""
    image = smooth(256, 384)
    image[:, :128], image[:, 256:] = 0, 255
    noisy = (image + np.random.default_rng(0).normal(0, 25, image.shape)).clip(0, 255)
    assert noise_level(noisy) == pytest.approx(25, rel=0.1)
