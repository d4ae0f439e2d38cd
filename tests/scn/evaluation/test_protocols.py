"""The protocols reproduce what the papers print for the degraded inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scn.evaluation.metrics import psnr
from scn.evaluation.protocols import PROTOCOLS, Protocol, mean, measure, protocol, protocols_of, rounded
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
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg", ".bmp"))
    assert paths
    return {path.stem: np.asarray(Image.open(path)) for path in paths}


def averaged(figures: list[Figures], metric: str) -> float:
    return float(np.mean([getattr(each, metric) for each in figures]))


@pytest.mark.parametrize(
    ("corpus", "scale", "printed_psnr", "printed_ssim"),
    [
        ("Set5", 2, 33.66, 0.9299),
        ("Set5", 3, 30.39, 0.8682),
        ("Set5", 4, 28.42, 0.8104),
        ("Set14", 2, 30.24, 0.8688),
        ("Set14", 3, 27.55, 0.7742),
        ("Set14", 4, 26.00, 0.7027),
        ("BSDS500/val", 2, 29.56, 0.8431),
        ("BSDS500/val", 3, 27.21, 0.7385),
        ("BSDS500/val", 4, 25.96, 0.6675),
    ],
)
def test_bicubic_rows_of_table_1(corpus: str, scale: int, printed_psnr: float, printed_ssim: float) -> None:
    figures = []
    for image in photographs(corpus).values():
        hr = modcrop(image, scale)
        up = bicubic_upscale(bicubic_downscale(hr, scale), scale)
        figures.append(measure(up, hr, protocol("sr-y-v1"), scale))
    assert averaged(figures, "psnr") == pytest.approx(printed_psnr, abs=0.02)
    assert averaged(figures, "ssim") == pytest.approx(printed_ssim, abs=0.001)


@pytest.mark.parametrize(
    ("corpus", "quality", "printed_psnr", "printed_ssim8"),
    [
        ("classic5", 10, 27.82, 0.7800),
        ("classic5", 20, 30.12, 0.8541),
        ("classic5", 30, 31.48, 0.8844),
        ("classic5", 40, 32.43, 0.9011),
        ("LIVE1", 10, 27.77, 0.7905),
        ("LIVE1", 20, 30.07, 0.8683),
        ("LIVE1", 30, 31.41, 0.9000),
        ("LIVE1", 40, 32.35, 0.9173),
    ],
)
def test_jpeg_rows_of_table_3(corpus: str, quality: int, printed_psnr: float, printed_ssim8: float) -> None:
    figures = []
    for image in photographs(corpus).values():
        hr = to_channels(image, "luma")
        figures.append(measure(jpeg(hr, quality), hr, protocol("car-y-v1"), 1))
    assert averaged(figures, "psnr") == pytest.approx(printed_psnr, abs=0.01)
    assert averaged(figures, "ssim8") == pytest.approx(printed_ssim8, abs=0.001)
    assert abs(averaged(figures, "ssim") - printed_ssim8) > 0.005  # the other window is another figure


def test_noise_on_grey_images_is_measured_at_full_range() -> None:
    unclipped, seen = [], []
    for name, hr in photographs("Set12").items():
        noisy = hr + evaluation_noise(name, hr.shape, 25)
        unclipped.append(psnr(noisy, hr))
        seen.append(measure(to_uint8(noisy / 255), hr, protocol("dn-grey-v1"), 1).psnr)
    assert np.mean(unclipped) == pytest.approx(20 * np.log10(255 / 25), abs=0.02)  # 20.17 dB
    assert np.mean(seen) == pytest.approx(20.34, abs=0.05)  # through the studio-range luma it would be 21.7


def test_super_resolution_compares_studio_luma_inside_the_frame() -> None:
    original = np.full((40, 40, 3), 100, np.uint8)
    restored = original.copy()
    restored[..., 1] += 10  # green adds 10 * 128.553 / 255 to luma
    expected = 20 * np.log10(255 / (10 * 128.553 / 255))
    assert measure(restored, original, protocol("sr-y-v1"), 3).psnr == pytest.approx(expected, abs=1e-9)
    for side in (np.s_[:3], np.s_[-3:], np.s_[:, :3], np.s_[:, -3:]):
        restored[side] = 0
    assert measure(restored, original, protocol("sr-y-v1"), 3).psnr == pytest.approx(expected, abs=1e-9)
    restored[3, 3] = 0
    assert measure(restored, original, protocol("sr-y-v1"), 3).psnr < expected - 0.5


def test_rgb_figures_leave_out_six_pixels_more() -> None:
    original = np.full((60, 60, 3), 100, np.uint8)
    restored = original.copy()
    restored[..., 1] += 10
    expected = 20 * np.log10(255 / 10) + 10 * np.log10(3)  # one channel of three is wrong by 10
    for side in (np.s_[:8], np.s_[-8:], np.s_[:, :8], np.s_[:, -8:]):
        restored[side] = 0
    assert measure(restored, original, protocol("sr-rgb-v1"), 2).psnr == pytest.approx(expected, abs=1e-9)
    restored[8, 8] = 0
    assert measure(restored, original, protocol("sr-rgb-v1"), 2).psnr < expected - 0.1


ALL = [rule for of_task in PROTOCOLS.values() for rule in of_task]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.name)
def test_grey_images_never_pass_through_the_studio_luma(rule: Protocol) -> None:
    original = np.full((40, 40), 100, np.uint8)
    assert measure(original + 10, original, rule, 2).psnr == pytest.approx(20 * np.log10(25.5), abs=1e-9)


@pytest.mark.parametrize("rule", [*PROTOCOLS["dn"], *PROTOCOLS["car"]], ids=lambda rule: rule.name)
def test_nothing_is_cropped_without_enlargement(rule: Protocol) -> None:
    original = np.full((30, 30), 100, np.uint8)
    restored = original.copy()
    restored[0, 0] = 130
    assert measure(restored, original, rule, 1).psnr == pytest.approx(10 * np.log10(255**2 / 1), abs=1e-9)


@pytest.mark.parametrize(("name", "scale", "side"), [("sr-y-v1", 4, 19), ("sr-rgb-v1", 4, 31), ("dn-grey-v1", 1, 11)])
def test_smallest_side_is_the_smallest_that_can_be_measured(name: str, scale: int, side: int) -> None:
    rule = protocol(name)
    assert rule.smallest_side(scale) == side
    image = np.zeros((side, side), np.uint8)
    assert measure(image, image, rule, scale) == Figures(psnr=100, ssim=1)
    assert rule.fits(image, scale)
    assert not rule.fits(image[1:], scale)
    with pytest.raises(ValueError, match="at least 11x11"):
        measure(image[1:], image[1:], rule, scale)


def test_colours_decide_which_protocol_fits() -> None:
    grey, colour = np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.uint8)
    fitting = {
        name: [each.name for each in ALL if each.fits(image, 2)] for name, image in (("grey", grey), ("colour", colour))
    }
    assert fitting == {
        "grey": ["sr-y-v1", "sr-rgb-v1", "dn-grey-v1", "car-y-v1"],
        "colour": ["sr-y-v1", "sr-rgb-v1", "dn-rgb-v1"],
    }


def test_every_task_has_protocols_of_its_own_with_distinct_names() -> None:
    assert set(PROTOCOLS) == set(TASKS)
    assert len({rule.name for rule in ALL}) == len(ALL)
    assert [protocols_of(task)[0].name for task in TASKS.values()] == ["sr-y-v1", "dn-grey-v1", "car-y-v1"]
    with pytest.raises(ValueError, match="'sr-y-v2' is no known protocol: did you mean 'sr-y-v1'"):
        protocol("sr-y-v2")


def test_means_are_of_figures_that_all_images_have() -> None:
    rows = [Figures(psnr=30.00004, ssim=0.9, ssim8=0.8), Figures(psnr=31.0, ssim=0.8)]
    assert [rounded(row) for row in rows] == [Figures(psnr=30.0, ssim=0.9, ssim8=0.8), rows[1]]
    assert mean(rows) == Figures(psnr=30.5, ssim=0.85)


def test_rounding_to_8_bits() -> None:
    greys = np.arange(256, dtype=np.float32) / 255
    assert to_uint8(greys).tolist() == list(range(256))
    assert to_uint8(np.array([-0.3, 1.7, 0.5 / 255, 1.5 / 255, 2.49 / 255])).tolist() == [0, 255, 0, 2, 2]


def test_only_8_bit_images_are_measured(photograph: Callable[..., Any]) -> None:
    image = photograph(20, 20, 1)[..., 0]
    with pytest.raises(ValueError, match="8-bit"):
        measure(image.astype(np.float32), image, protocol("dn-grey-v1"), 1)
