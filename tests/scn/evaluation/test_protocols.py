"""The protocols reproduce what the papers print for the degraded inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scn.evaluation.metrics import psnr
from scn.evaluation.protocols import measure, smallest_side
from scn.imaging.degradation import (
    bicubic_downscale,
    bicubic_upscale,
    evaluation_noise,
    jpeg,
    modcrop,
    to_channels,
    to_uint8,
)
from scn.imaging.tasks import TASKS
from scn.inference.records import Figures

CORPORA = Path(__file__).resolve().parents[4] / "shared" / "corpora"


def photographs(corpus: str) -> dict[str, Any]:
    folder = CORPORA / corpus
    if not folder.is_dir():
        pytest.skip(f"the corpus {corpus} is not here (../shared/corpora)")
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize(
    ("corpus", "scale", "printed_psnr", "printed_ssim"),
    [
        ("Set5", 2, 33.66, 0.9299),
        ("Set5", 3, 30.39, 0.8682),
        ("Set5", 4, 28.42, 0.8104),
        ("Set14", 2, 30.24, 0.8688),
        ("Set14", 4, 26.00, 0.7027),
    ],
)
def test_bicubic_rows_of_table_1(corpus: str, scale: int, printed_psnr: float, printed_ssim: float) -> None:
    figures = []
    for image in photographs(corpus).values():
        hr = modcrop(image, scale)
        up = bicubic_upscale(bicubic_downscale(hr, scale), scale)
        figures.append(measure(up, hr, TASKS["sr"], scale))
    assert np.mean([f.psnr for f in figures]) == pytest.approx(printed_psnr, abs=0.02)
    assert np.mean([f.ssim for f in figures]) == pytest.approx(printed_ssim, abs=0.001)


@pytest.mark.parametrize(
    ("corpus", "quality", "printed"), [("classic5", 10, 27.82), ("classic5", 40, 32.43), ("LIVE1", 10, 27.77)]
)
def test_jpeg_rows_of_table_3(corpus: str, quality: int, printed: float) -> None:
    figures = []
    for image in photographs(corpus).values():
        hr = to_channels(image, "luma")
        figures.append(measure(jpeg(hr, quality), hr, TASKS["car"], 1).psnr)
    assert np.mean(figures) == pytest.approx(printed, abs=0.02)


def test_noise_on_grey_images_is_measured_at_full_range() -> None:
    unclipped, seen = [], []
    for name, hr in photographs("Set12").items():
        noisy = hr + evaluation_noise(name, hr.shape, 25)
        unclipped.append(psnr(noisy, hr))
        seen.append(measure(to_uint8(noisy / 255), hr, TASKS["dn"], 1).psnr)
    assert np.mean(unclipped) == pytest.approx(20 * np.log10(255 / 25), abs=0.02)  # 20.17 dB
    assert np.mean(seen) == pytest.approx(20.34, abs=0.05)  # through the studio-range luma it would be 21.7


def test_super_resolution_compares_studio_luma_inside_the_frame() -> None:
    original = np.full((40, 40, 3), 100, np.uint8)
    restored = original.copy()
    restored[..., 1] += 10  # green adds 10 * 128.553 / 255 to luma
    expected = 20 * np.log10(255 / (10 * 128.553 / 255))
    assert measure(restored, original, TASKS["sr"], 3).psnr == pytest.approx(expected, abs=1e-9)
    for side in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
        restored[side] = 0
    assert measure(restored, original, TASKS["sr"], 3).psnr == pytest.approx(expected, abs=1e-9)
    restored[3, 3] = 0
    assert measure(restored, original, TASKS["sr"], 3).psnr < expected - 0.5


@pytest.mark.parametrize(("task", "scale"), [("sr", 2), ("dn", 1), ("car", 1)])
def test_grey_images_never_pass_through_the_studio_luma(task: str, scale: int) -> None:
    original = np.full((30, 30), 100, np.uint8)
    assert measure(original + 10, original, TASKS[task], scale).psnr == pytest.approx(20 * np.log10(25.5), abs=1e-9)


@pytest.mark.parametrize("task", ["dn", "car"])
def test_nothing_is_cropped_without_enlargement(task: str) -> None:
    original = np.full((30, 30), 100, np.uint8)
    restored = original.copy()
    restored[0, 0] = 130
    assert measure(restored, original, TASKS[task], 1).psnr == pytest.approx(10 * np.log10(255**2 / 1), abs=1e-9)


def test_smallest_side_is_the_smallest_that_can_be_measured() -> None:
    for name, scale in (("sr", 4), ("dn", 1)):
        side = smallest_side(TASKS[name], scale)
        image = np.zeros((side, side), np.uint8)
        assert measure(image, image, TASKS[name], scale) == Figures(psnr=100, ssim=1)
        with pytest.raises(ValueError, match="at least 11x11"):
            measure(image[1:], image[1:], TASKS[name], scale)


def test_rounding_to_8_bits() -> None:
    greys = np.arange(256, dtype=np.float32) / 255
    assert to_uint8(greys).tolist() == list(range(256))
    assert to_uint8(np.array([-0.3, 1.7, 0.5 / 255, 1.5 / 255, 2.49 / 255])).tolist() == [0, 255, 0, 2, 2]


def test_only_8_bit_images_are_measured(photograph: Callable[..., Any]) -> None:
    image = photograph(20, 20, 1)[..., 0]
    with pytest.raises(ValueError, match="8-bit"):
        measure(image.astype(np.float32), image, TASKS["dn"], 1)
