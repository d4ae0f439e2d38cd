"""PSNR, SSIM and PSNR-B against values worked out by hand and against scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from scn.evaluation.metrics import PSNR_CAP, psnr, psnr_b, ssim, ssim8


def test_psnr_of_a_constant_difference() -> None:
    a = np.full((4, 5), 100, np.uint8)
    assert psnr(a, a + 1) == pytest.approx(20 * np.log10(255), abs=1e-12)  # 48.13 dB
    assert psnr(a, a - 5) == pytest.approx(20 * np.log10(51), abs=1e-12)


def test_psnr_does_not_wrap_around_in_8_bits() -> None:
    black, white = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert psnr(black, white) == psnr(white, black) == 0.0


def test_identical_images_have_finite_figures() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20)).astype(np.uint8)
    assert psnr(image, image) == PSNR_CAP == 100
    assert ssim(image, image) == pytest.approx(1, abs=1e-12)


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    a, b = np.full((11, 11), 100.0), np.full((11, 11), 150.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-12)


def test_ssim_of_one_window_by_the_definition() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 255, (2, 11, 11))
    y, x = np.mgrid[-5:6, -5:6]
    window = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    window /= window.sum()
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
    covariance = (window * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("shape", [(11, 40), (74, 75), (200, 33)])  # one row of windows; across the strips' seams
def test_ssim_equals_scikit_image_inside_the_frame(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(0, 256, shape).astype(np.uint8)
    b = np.clip(a + rng.normal(0, 30, shape), 0, 255).astype(np.uint8)
    _, everywhere = structural_similarity(
        a, b, gaussian_weights=True, use_sample_covariance=False, data_range=255, full=True
    )
    assert ssim(a, b) == pytest.approx(everywhere[5:-5, 5:-5].mean(), abs=1e-10)


def test_colours_are_the_mean_of_the_channels() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 256, (2, 16, 17, 3)).astype(np.uint8)
    assert ssim(a, b) == pytest.approx(np.mean([ssim(a[..., c], b[..., c]) for c in range(3)]), abs=1e-12)


def test_what_can_not_be_compared() -> None:
    image = np.zeros((12, 12), np.uint8)
    with pytest.raises(ValueError, match="different shapes"):
        psnr(image, image[:-1])
    with pytest.raises(ValueError, match="at least 11x11 pixels, not 12x10"):
        ssim(image[:10], image[:10])


def test_ssim8_by_the_definition() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 256, (2, 9, 75)).astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for top in range(2):
        for left in range(68):
            x, y = (image[top : top + 8, left : left + 8] for image in (a, b))
            covariance = ((x - x.mean()) * (y - y.mean())).mean()
            above = (2 * x.mean() * y.mean() + c1) * (2 * covariance + c2)
            found.append(above / ((x.mean() ** 2 + y.mean() ** 2 + c1) * (x.var() + y.var() + c2)))
    assert ssim8(a, b) == pytest.approx(np.mean(found), abs=1e-10)
    with pytest.raises(ValueError, match="at least 8x8 pixels, not 75x7"):
        ssim8(a[:7], b[:7])


def test_psnr_b_counts_steps_at_the_edges_of_blocks() -> None:
    original = np.zeros((16, 24))
    restored = original.copy()
    restored[:, 8:16] = 10  # two edges of 16 rows, each a step of 10; of the error, a third of the pixels has 100
    edges = 16 * 2 + 24  # pairs of neighbours across the edges: two upright ones, and one that lies
    blocking = 100 * 16 * 2 / edges
    error = 100 / 3 + np.log2(8) / np.log2(16) * blocking
    assert psnr_b(restored, original) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-10)


def test_psnr_b_is_psnr_where_blocks_are_as_smooth_as_the_rest() -> None:
    original = np.zeros((24, 24))
    inside = original.copy()
    inside[:, 4:12] = 10  # steps inside of blocks only
    ramp = np.add.outer(np.arange(24.0), np.arange(24.0))
    assert psnr_b(inside, original) == psnr(inside, original)
    assert psnr_b(ramp, original) == pytest.approx(psnr(ramp, original), abs=1e-12)
    assert psnr_b(original, original) == PSNR_CAP


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (20, 20, 3)])
def test_psnr_b_needs_more_than_a_block_of_grey(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="grey images of more than 8x8"):
        psnr_b(np.zeros(shape), np.zeros(shape))
