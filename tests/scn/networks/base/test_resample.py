"""Resampling is what it says: F.interpolate's bilinear, MATLAB's bicubic."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scn.imaging.degradation import bicubic_upscale
from scn.networks.base.resample import _places, bicubic, bilinear, bilinear_by_products
from scn.networks.base.windows import Window, Windows, placed


@pytest.mark.parametrize(
    ("size", "new_size"), [((7, 9), (3, 5)), ((8, 8), (16, 16)), ((1, 5), (4, 1)), ((5, 4), (5, 4))]
)
def test_bilinear_by_products_is_interpolate_with_aligned_corners(
    size: tuple[int, int], new_size: tuple[int, int]
) -> None:
    x = torch.rand(2, 3, *size)
    expected = F.interpolate(x, size=new_size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(bilinear_by_products(x, *new_size), expected, atol=5e-6, rtol=0)


def exact_bicubic(image: Tensor, scale: int) -> Tensor:
    """MATLAB's imresize by its definition, in float64: one output pixel after the other."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    for dim in (2, 3):
        size, lines = image.shape[dim], list(image.double().unbind(dim))
        mirrored = [*lines, *reversed(lines)]
        enlarged = []
        for i in range(size * scale):
            centre = (i + 0.5) / scale - 0.5
            taps = range(math.floor(centre) - 2, math.floor(centre) + 4)
            enlarged.append(sum((kernel(centre - tap) * mirrored[tap % (2 * size)] for tap in taps), torch.zeros(())))
        image = torch.stack(enlarged, dim)
    return image


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 7), (19, 13)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
def test_bicubic_is_matlabs(size: tuple[int, int], scale: int) -> None:
    image = torch.rand(2, 3, *size)
    torch.testing.assert_close(bicubic(image, scale), exact_bicubic(image, scale).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_the_one_that_degrades_to_its_rounding(scale: int) -> None:
    """Between 60 and 190 nothing is clipped; rounding both passes moves a pixel by less than 1.2."""
    pixels = np.random.default_rng(scale).integers(60, 190, (21, 17), dtype=np.uint8)
    for image, most in ((np.repeat(pixels[:, :1], 17, axis=1), 0.5), (pixels, 1.2)):
        enlarged = bicubic(torch.from_numpy(image).float()[None, None], scale)[0, 0].numpy()
        assert np.abs(enlarged - bicubic_upscale(image, scale)).max() <= most + 1e-4


def test_bicubic_stays_in_float32_under_autocast() -> None:
    image = torch.rand(1, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output = bicubic(image, 2)
    assert torch.equal(output, bicubic(image, 2))


def test_images_of_ever_other_sizes_take_no_more_memory() -> None:
    """A service sees thousands of sizes, and each has places of its own."""
    x = torch.rand(1, 1, 8, 8)
    for whole in range(16, 816):
        near, far = ({8: Window(start, whole), 4: Window(start // 2, whole // 2)} for start in (0, whole - 8))
        with placed(Windows(near, far)):
            bilinear(x, 4, 4)
    kept = _places.cache_info()
    assert kept.misses >= 1600
    assert kept.currsize <= 1024
