"""The benchmarks' plots: lines in an SVG file."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, _Axis, write_lines

SVG = "{http://www.w3.org/2000/svg}"


def test_lines_rise_and_are_named(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "p.svg", "A < B", "time [s]", "PSNR [dB]", {"ours": [(0, 30), (10, 32.5)], "theirs": [(0, 30)]}
    )
    root = ET.parse(tmp_path / "p.svg").getroot()
    drawn = [[tuple(map(float, p.split(","))) for p in e.attrib["points"].split()] for e in root.iter(f"{SVG}polyline")]
    (x0, y0), (x1, y1) = drawn[0]
    assert x1 > x0
    assert y1 < y0  # upwards, in pixels from the top
    assert drawn[1] == [drawn[0][0]]
    texts = [e.text for e in root.iter(f"{SVG}text")]
    assert {"A < B", "time [s]", "PSNR [dB]", "ours", "theirs"} <= set(texts)
    assert {"0", "5", "10"} <= set(texts)


def test_a_single_point_is_in_the_middle(tmp_path: Path) -> None:
    write_lines(tmp_path / "p.svg", "t", "x", "y", {"one": [(3, 4)]})
    line = next(ET.parse(tmp_path / "p.svg").getroot().iter(f"{SVG}polyline"))
    x, y = map(float, line.attrib["points"].split(","))
    assert (x, y) == ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)


@pytest.mark.parametrize("values", [(0.001, 0.0012), (5, 5000)])
def test_ticks_are_few_and_inside(values: tuple[float, float]) -> None:
    axis = _Axis(values, 0, 100)
    assert 3 <= len(axis.ticks()) <= 11
    assert all(0 <= axis.place(tick) <= 100 for tick in axis.ticks())
