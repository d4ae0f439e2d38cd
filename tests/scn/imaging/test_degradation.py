"""The degradations against a float64 MATLAB imresize, against printed figures, and against themselves."""

import io
import math
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from scn.imaging.degradation import (
    Edges,
    Image,
    bicubic_downscale,
    bicubic_resize,
    bicubic_resize_pillow,
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
from scn.imaging.tasks import TASKS

CORPORA = Path(__file__).parents[4] / "shared" / "corpora"


def imresize(image: Image, scale: float, edges: Edges = "mirror") -> Image:
    """MATLAB's imresize(image, scale, 'bicubic') as its source describes it, in float64, or an older one."""
    height, width = (math.ceil(round(side * scale, 9)) for side in image.shape[:2])
    columns = _along_first(image, height, scale, edges)
    return np.swapaxes(_along_first(np.swapaxes(columns, 0, 1), width, scale, edges), 0, 1)


def _along_first(image: Image, length: int, scale: float, edges: Edges) -> Image:
    antialiasing = min(scale, 1.0)
    last = image.shape[0] - 1
    mirrored = [*range(image.shape[0]), *reversed(range(image.shape[0]))]

    def source(tap: int) -> int:
        return mirrored[(tap - 1) % len(mirrored)] if edges == "mirror" else min(max(tap - 1, 0), last)

    result = np.empty((length, *image.shape[1:]), np.uint8)
    for row in range(length):
        centre = (row + 1) / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(centre - 2 / antialiasing)
        taps = range(left, left + math.ceil(4 / antialiasing) + 2)
        weights = [antialiasing * _cubic(antialiasing * (centre - tap)) for tap in taps]
        total = sum(weights)
        values = sum(w / total * image[source(tap)] for w, tap in zip(weights, taps, strict=True))
        result[row] = np.clip(np.floor(values + 0.5), 0, 255)
    return result


def _cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * (x * x * x) - 2.5 * (x * x) + 1
    return -0.5 * (x * x * x) + 2.5 * (x * x) - 4 * x + 2 if x <= 2 else 0.0


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


@pytest.mark.parametrize("edges", ["mirror", "replicate"])
@pytest.mark.parametrize("make", [photograph, noise_image])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4, 5, 6, 7, 8, 13])
def test_bicubic_is_matlabs_bit_for_bit(make, channels: int, scale: int, edges: Edges) -> None:
    image = make(31 * scale, 23 * scale, channels)

    np.testing.assert_array_equal(bicubic_downscale(image, scale, edges), imresize(image, 1 / scale, edges))
    part = image[:61, :50]
    np.testing.assert_array_equal(bicubic_upscale(part, scale, edges), imresize(part, scale, edges))


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_edges_change_no_pixel_that_is_more_than_two_from_the_frame(scale: int) -> None:
    image = photograph(40 * scale, 30 * scale, 3)
    mirrored, repeated = (bicubic_downscale(image, scale, edges) for edges in ("mirror", "replicate"))
    np.testing.assert_array_equal(mirrored[2:-2, 2:-2], repeated[2:-2, 2:-2])
    assert (mirrored != repeated).any()
    # The edge pixel stands twice in either: beyond it they differ, which one reduced pixel at most gives much weight.
    assert (mirrored != repeated).mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", ["2/3", "3/2", "5/4", "37/100", "1/2", "1/3", "1/7", "1", "17/1", "99/100"])
def test_bicubic_at_any_rational_scale_and_size(scale: str, channels: int) -> None:
    factor = Fraction(scale)
    for height, width in ((61, 50), (60, 47), (7, 3), (1, 1)):
        image = photograph(height, width, channels)
        resized = bicubic_resize(image, factor)
        assert resized.shape[:2] == (math.ceil(height * factor), math.ceil(width * factor))
        np.testing.assert_array_equal(resized, imresize(image, float(factor)))
        repeated = bicubic_resize(image, factor, "replicate")
        np.testing.assert_array_equal(repeated, imresize(image, float(factor), "replicate"))
        assert resized.flags.c_contiguous


@pytest.mark.parametrize("edges", ["mirror", "replicate"])
@pytest.mark.parametrize("scale", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_bicubic_continues_images_smaller_than_the_kernel(side: int, scale: int, edges: Edges) -> None:
    thin = noise_image(side * scale, 9 * scale, 3)

    np.testing.assert_array_equal(bicubic_downscale(thin, scale, edges), imresize(thin, 1 / scale, edges))
    np.testing.assert_array_equal(bicubic_upscale(thin[:side], scale, edges), imresize(thin[:side], scale, edges))


@pytest.mark.parametrize("scale", ["1/2", "1/3", "2", "4"])
@pytest.mark.parametrize("channels", [1, 3])
def test_bicubic_from_pillow_image_to_pillow_image(channels: int, scale: str) -> None:
    image = photograph(42, 54, channels)
    resized = bicubic_resize_pillow(Pillow.fromarray(image), Fraction(scale))
    assert resized.mode == ("L" if channels == 1 else "RGB")
    np.testing.assert_array_equal(np.asarray(resized), imresize(image, float(Fraction(scale))))
    repeated = bicubic_resize_pillow(Pillow.fromarray(image), Fraction(scale), "replicate")
    np.testing.assert_array_equal(np.asarray(repeated), imresize(image, float(Fraction(scale)), "replicate"))


@pytest.mark.parametrize(("mode", "size", "scale"), [("RGBA", (8, 8), "2"), ("L", (8, 9), "1/2"), ("L", (8, 8), "1/5")])
def test_bicubic_on_pillow_images_refuses_what_it_would_do_wrong(mode: str, size: tuple[int, int], scale: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{mode} and {size[0]}x{size[1]} pixels can't .* by {scale} in .*: use bicubic_resize"
    ):
        bicubic_resize_pillow(Pillow.new(mode, size), Fraction(scale))


@pytest.mark.parametrize("scale", ["1/2", "2", "2/3", "1/5"])
def test_bicubic_keeps_what_has_no_detail(scale: str) -> None:
    for grey in (0, 1, 127, 255):
        assert set(bicubic_resize(np.full((40, 30), grey, np.uint8), Fraction(scale)).flat) == {grey}


def test_bicubic_needs_little_more_memory_than_the_image() -> None:
    image = np.zeros((1500, 1000, 3), np.uint8)
    for scale in (Fraction(1, 6), Fraction(2, 3)):
        tracemalloc.start()
        bicubic_resize(image, scale)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.5 * image.nbytes  # a float64 copy of it alone would take 8


def test_bicubic_takes_views_and_returns_what_can_be_written() -> None:
    image = photograph(40, 60, 3)
    view = image[::-1, 4:-4]

    small = bicubic_downscale(view, 2)
    np.testing.assert_array_equal(small, imresize(np.ascontiguousarray(view), 0.5))
    assert small.flags.writeable


def test_bicubic_names_the_size_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="50x41 pixels can't be reduced by 3: use modcrop"):
        bicubic_downscale(np.zeros((41, 50), np.uint8), 3)
    for image, scale in ((np.zeros((0, 5), np.uint8), Fraction(2)), (np.zeros((5, 5), np.uint8), Fraction(-1, 2))):
        with pytest.raises(ValueError, match=r"pixels can't be resized by"):
            bicubic_resize(image, scale)


def test_modcrop_keeps_the_top_left() -> None:
    image = noise_image(11, 14, 3)
    np.testing.assert_array_equal(modcrop(image, 4), image[:8, :12])
    np.testing.assert_array_equal(modcrop(image, 1), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_a_viewer_of_the_file_would_see(channels: int) -> None:
    image = photograph(50, 71, channels)
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=20)

    np.testing.assert_array_equal(jpeg(image, 20), np.asarray(Pillow.open(file)))
    errors = [np.abs(jpeg(image, quality).astype(int) - image).mean() for quality in (10, 20, 40, 100)]
    assert errors == sorted(errors, reverse=True)
    assert channels == 3 or errors[-1] < 1


def test_jpeg_halves_the_resolution_of_chroma_alone() -> None:
    stripes = np.zeros((16, 64, 3), np.uint8)
    stripes[:, ::2, 0] = 255  # red and black lines of one pixel: their hue is blurred, their luma is not
    luma, kept = rgb_to_luma(stripes), rgb_to_luma(jpeg(stripes, 100))
    assert np.abs(kept - luma).max() < 24  # red that is clipped at 0 takes some luma with it
    assert np.abs(jpeg(stripes, 100).astype(int) - stripes).max() > 60


@pytest.mark.parametrize("quality", [-1, 0, 101])
def test_jpeg_names_the_quality_that_there_is_not(quality: int) -> None:
    with pytest.raises(ValueError, match=rf"JPEG's quality lies in 1\.\.100, not {quality}"):
        jpeg(photograph(8, 8, 1), quality)


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


def test_evaluation_noise_of_another_seed_is_another_draw() -> None:
    draws = [evaluation_noise("a.png", (30, 40), 25, seed=seed) for seed in (0, 1, 2)]
    np.testing.assert_array_equal(draws[0], evaluation_noise("a.png", (30, 40), 25))
    np.testing.assert_array_equal(draws[1], evaluation_noise("a.png", (30, 40), 25, seed=1))
    assert np.abs(np.corrcoef([draw.ravel() for draw in draws]) - np.eye(3)).max() < 0.1


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
