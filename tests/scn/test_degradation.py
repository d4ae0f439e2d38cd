"""The degradations against a float64 MATLAB imresize, against printed figures, and against themselves."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from scn.degradation import (
    Image,
    bicubic_downscale,
    bicubic_upscale,
    degrade,
    evaluation_noise,
    jpeg,
    modcrop,
    noise,
    rgb_to_grey,
    rgb_to_luma,
    to_channels,
)
from scn.tasks import TASKS

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"


def imresize(image: Image, scale: float) -> Image:
    """MATLAB's imresize(image, scale, 'bicubic') as its source describes it, in float64."""
    height, width = image.shape[:2]
    columns = _along_first(image, round(height * scale), scale)
    return np.swapaxes(_along_first(np.swapaxes(columns, 0, 1), round(width * scale), scale), 0, 1)


def _along_first(image: Image, length: int, scale: float) -> Image:
    antialiasing = min(scale, 1.0)
    centre = np.arange(1, length + 1) / scale + 0.5 * (1 - 1 / scale)
    width = 4 / antialiasing
    index = np.floor(centre - width / 2)[:, None] + np.arange(np.ceil(width) + 2)
    weights = antialiasing * _cubic(antialiasing * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(image.shape[0]), np.arange(image.shape[0])[::-1]])
    pixels = image[mirrored[np.mod(index - 1, len(mirrored)).astype(int)]].astype(np.float64)
    return np.clip(np.floor(np.einsum("op,op...->o...", weights, pixels) + 0.5), 0, 255).astype(np.uint8)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    inner, outer = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def noise_image(height: int, width: int, channels: int) -> Image:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def photograph(height: int, width: int, channels: int) -> Image:
    """Smooth shading, hard edges to black and white that overshoot, and a little texture."""
    y, x = np.mgrid[:height, :width] / 10.0
    layers = []
    for channel in range(channels):
        shading = 110 + 60 * np.sin(0.3 * x + channel) + 50 * np.cos(0.2 * y - channel)
        edges = np.where(np.sin(x * y / 20) > 0.7, 255, np.where(np.cos(x - 2 * y) > 0.8, 0, shading))
        layers.append(edges + np.random.default_rng(channel).normal(0, 2, (height, width)))
    pixels = np.clip(np.rint(np.stack(layers, axis=-1)), 0, 255).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


@pytest.mark.parametrize("make", [photograph, noise_image])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_matlabs_bit_for_bit(make, channels: int, scale: int) -> None:
    image = make(60 * scale, 47 * scale, channels)

    np.testing.assert_array_equal(bicubic_downscale(image, scale), imresize(image, 1 / scale))
    np.testing.assert_array_equal(bicubic_upscale(image[:61, :50], scale), imresize(image[:61, :50], scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_bicubic_mirrors_images_smaller_than_the_kernel(side: int, scale: int) -> None:
    thin = noise_image(side * scale, 9 * scale, 3)

    np.testing.assert_array_equal(bicubic_downscale(thin, scale), imresize(thin, 1 / scale))
    np.testing.assert_array_equal(bicubic_upscale(thin[:side], scale), imresize(thin[:side], scale))


def test_bicubic_takes_views_and_returns_what_can_be_written() -> None:
    image = photograph(40, 60, 3)
    view = image[::-1, 4:-4]

    small = bicubic_downscale(view, 2)
    np.testing.assert_array_equal(small, imresize(np.ascontiguousarray(view), 0.5))
    assert small.flags.writeable


def test_bicubic_names_the_size_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="50x41 pixels can't be reduced by 3: use modcrop"):
        bicubic_downscale(np.zeros((41, 50), np.uint8), 3)


def test_modcrop_keeps_the_top_left() -> None:
    image = noise_image(11, 14, 3)
    np.testing.assert_array_equal(modcrop(image, 4), image[:8, :12])
    np.testing.assert_array_equal(modcrop(image, 1), image)


def test_jpeg_is_what_a_viewer_of_the_file_would_see() -> None:
    image = photograph(50, 70, 1)
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=20)

    np.testing.assert_array_equal(jpeg(image, 20), np.asarray(Pillow.open(file)))
    errors = [np.abs(jpeg(image, quality).astype(int) - image).mean() for quality in (10, 20, 40, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1


def test_noise_has_the_standard_deviation_in_grey_levels_and_is_not_clipped() -> None:
    sample = noise((200, 200), 25, np.random.default_rng(0))
    assert sample.dtype == np.float32
    assert sample.std() == pytest.approx(25, rel=0.02)
    assert np.abs(sample).max() > 75


def test_evaluation_noise_depends_on_name_and_sigma_alone() -> None:
    first = evaluation_noise("a.png", (30, 40), 25)
    np.testing.assert_array_equal(first, evaluation_noise("a.png", (30, 40), 25.0))
    for other in (evaluation_noise("b.png", (30, 40), 25), evaluation_noise("a.png", (30, 40), 50)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1
    # Golden: a figure measured today must be measurable again.
    np.testing.assert_allclose(first[0, :4], [21.36673, -1.7206165, 25.745678, -6.742838], rtol=1e-5)


def test_luma_is_the_studio_range_unrounded() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [1, 2, 3]]], np.uint8)
    expected = [[16.0, 235.0, 16 + 65.481, 16 + (65.481 + 2 * 128.553 + 3 * 24.966) / 255]]
    np.testing.assert_allclose(rgb_to_luma(colours), expected, rtol=1e-14)


def test_grey_is_matlabs_full_range() -> None:
    colours = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(rgb_to_grey(colours), [[255, 76, 150, 29]])
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(rgb_to_grey(ramp)[0], np.arange(256))


def test_channels_of_the_tasks() -> None:
    rgb, grey = photograph(8, 9, 3), photograph(8, 9, 1)

    np.testing.assert_array_equal(to_channels(rgb, "rgb"), rgb)
    np.testing.assert_array_equal(to_channels(grey, "rgb"), np.dstack([grey, grey, grey]))
    np.testing.assert_array_equal(to_channels(rgb, "grey"), rgb_to_grey(rgb))
    np.testing.assert_array_equal(to_channels(grey, "grey"), grey)
    np.testing.assert_array_equal(to_channels(rgb, "luma"), np.floor(rgb_to_luma(rgb) + 0.5))
    np.testing.assert_array_equal(to_channels(grey, "luma"), grey)


def test_degrade_follows_the_task() -> None:
    rgb, grey = photograph(24, 36, 3), photograph(24, 36, 1)

    np.testing.assert_array_equal(degrade(rgb, TASKS["sr"], 3), bicubic_downscale(rgb, 3))
    np.testing.assert_array_equal(degrade(grey, TASKS["car"], 10), jpeg(grey, 10))
    assert degrade(grey, TASKS["dn"], 25) is None


def corpus(name: str) -> list[Image]:
    folder = CORPORA / name
    if not folder.is_dir():
        pytest.skip(f"the corpus {name} is not beside the project")
    return [np.asarray(Pillow.open(path)) for path in sorted(folder.iterdir()) if path.suffix != ".txt"]


def psnr(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))


@pytest.mark.parametrize(("scale", "printed"), [(2, 33.66), (3, 30.39), (4, 28.42)])
def test_bicubic_row_of_table_1_on_set5(scale: int, printed: float) -> None:
    figures = []
    for image in corpus("Set5"):
        hr = modcrop(image, scale)
        up = bicubic_upscale(bicubic_downscale(hr, scale), scale)
        inner = slice(scale, -scale)
        figures.append(psnr(rgb_to_luma(up)[inner, inner], rgb_to_luma(hr)[inner, inner]))
    assert len(figures) == 5
    assert np.mean(figures) == pytest.approx(printed, abs=0.02)


@pytest.mark.parametrize(("quality", "printed"), [(10, 27.77), (20, 30.07), (30, 31.41), (40, 32.35)])
def test_jpeg_row_of_table_3_on_live1(quality: int, printed: float) -> None:
    figures = [psnr(jpeg(image, quality), image) for image in (to_channels(i, "luma") for i in corpus("LIVE1"))]
    assert len(figures) == 29
    assert np.mean(figures) == pytest.approx(printed, abs=0.01)


@pytest.mark.parametrize(("sigma", "expected"), [(15, 24.61), (25, 20.17), (50, 14.15)])
def test_noise_on_set12_has_the_level_that_its_name_says(sigma: int, expected: float) -> None:
    for number, image in enumerate(corpus("Set12")):
        noisy = image + evaluation_noise(f"{number}", image.shape, sigma)
        assert psnr(noisy, image) == pytest.approx(expected, abs=0.1)
