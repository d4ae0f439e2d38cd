"""Axes, ticks, labels and curves in pixels."""

import itertools
import math
import re

import pytest

from scn.evaluation.page.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Kind,
    Point,
    histogram,
    lines,
    scatter,
)


def test_a_linear_axis_places_values_and_has_round_ticks() -> None:
    axis = Axis([30, 40], 100, 200, margin=0)
    assert [axis.place(30), axis.place(35), axis.place(40)] == [100, 150, 200]
    assert axis.ticks == [(100, "30"), (120, "32"), (140, "34"), (160, "36"), (180, "38"), (200, "40")]
    assert [text for _, text in Axis([26.1, 26.4], 0, 1).ticks] == ["26.1", "26.2", "26.3", "26.4"]
    assert [text for _, text in Axis([30, 39], 0, 1, margin=0).ticks] == ["30", "32", "34", "36", "38"]
    assert [text for _, text in Axis([31, 32], 0, 1).ticks][:2] == ["31.00", "31.25"]
    assert [text for _, text in Axis([0, 40_000], 0, 1, margin=0).ticks] == ["0", "10k", "20k", "30k", "40k"]


def test_a_logarithmic_axis_has_powers_of_ten_or_round_values_between() -> None:
    axis = Axis([1e4, 1e7], 0, 300, log=True, margin=0)
    assert [axis.place(1e4), axis.place(1e6)] == [0, 200]
    assert [text for _, text in axis.ticks] == ["10k", "100k", "1M", "10M"]
    assert [text for _, text in Axis([0.11, 3.5], 0, 1, log=True, margin=0).ticks] == ["0.3", "1", "3"]
    narrow = Axis([61, 79], 0, 100, log=True, margin=0)
    assert len(narrow.ticks) >= 3
    assert all(0 <= place <= 100 for place, _ in narrow.ticks)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[5.0], [1e-4, 3e-4], [0.001, 0.0005], [17.0, 17.0], [2e9, 3e9], [0.07, 41.0]])
def test_any_axis_has_a_few_ticks_inside(values: list[float], log: bool) -> None:
    axis = Axis(values, 58, 446, log=log)
    places = [place for place, _ in axis.ticks]
    assert 2 <= len(places) <= 8
    assert all(58 <= place <= 446 for place in places)
    assert len({text for _, text in axis.ticks}) == len(places)
    assert all(58 < axis.place(value) < 446 for value in values)


def point(name: str, x: float, y: float, kind: Kind = "published") -> Point:
    return Point(name=name, x=x, y=y, kind=kind, told=name)


def test_points_stand_where_their_values_are_and_labels_cover_nothing() -> None:
    close = [point(f"network {i}", 1e6 * 1.02**i, 30 + 0.01 * i) for i in range(12)]
    plot = scatter([*close, point("ours", 1e4, 29, "model")], "parameters", "PSNR")
    assert plot is not None
    ours = plot.points[-1]
    assert (ours.x, ours.y) == (plot.columns.place(1e4), plot.rows.place(29))
    assert ours.label is not None
    boxes = []
    for placed in plot.points:
        assert LEFT < placed.x < WIDTH - RIGHT
        assert TOP < placed.y < HEIGHT - BOTTOM
        if placed.label:
            x, y, anchor = placed.label
            wide = 6.5 * len(placed.point.name)
            left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
            boxes.append((left, y - 10, left + wide, y + 3))
    assert 2 <= len(boxes) < 13  # there is no room for all of them
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert scatter([], "parameters", "PSNR") is None


def test_curves_are_thinned_by_means_and_keep_their_numbers() -> None:
    long = [(float(step), float(step % 2)) for step in range(10 * MOST_POINTS)]
    plot = lines("Loss", "loss", {(0, "a"): long, (3, "b"): [(0, 2.0), (10, 4.0)], (4, "c"): []})
    assert plot is not None
    first, second = plot.lines
    assert [first.number, second.number, second.name] == [0, 3, "b"]
    places = [tuple(map(float, place.split(","))) for place in first.path[1:].split("L")]
    assert len(places) == MOST_POINTS
    assert {y for _, y in places} == {plot.rows.place(0.5)}
    assert (
        second.path
        == f"M{plot.columns.place(0):g},{plot.rows.place(2):g}L{plot.columns.place(10):g},{plot.rows.place(4):g}"
    )


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("rows", [2_500, 7_201])
def test_a_long_curve_of_one_value_is_a_line(rows: int, log: bool) -> None:
    """Sums of 0.001 differ in their last bits: an axis of that span had no logarithm."""
    plot = lines("Learning rate", "", {(0, "a"): [(float(step), 0.001) for step in range(rows)]}, log=log)
    assert plot is not None
    assert {place.split(",")[1] for place in plot.lines[0].path[1:].split("L")} == {f"{plot.rows.place(0.001):g}"}
    assert 2 <= len(plot.rows.ticks) <= 8


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[0.001, 0.001 * (1 + 2e-16)], [1.0, 1 + 1e-10], [38.2, 38.2 - 7e-15]])
def test_values_that_rounding_tells_apart_have_an_axis(values: list[float], log: bool) -> None:
    axis = Axis(values, 0, 100, log=log)
    assert 2 <= len(axis.ticks) <= 8
    assert all(0 < axis.place(value) < 100 for value in values)


def test_a_logarithmic_plot_leaves_out_what_is_not_positive() -> None:
    plot = lines("Loss", "loss", {(0, "a"): [(0, 0.0), (1, 0.1), (2, 0.01)]}, log=True)
    assert plot is not None
    assert len(re.findall(",", plot.lines[0].path)) == 2
    assert lines("Loss", "loss", {(0, "a"): [(0, -1.0)]}, log=True) is None


def test_a_histogram_counts_every_image_once() -> None:
    gains = [-0.3, 0.1, 0.12, 0.9, 1.0]
    plot = histogram(gains)
    counts = [int(bar.told.split(": ")[1].split()[0]) for bar in plot.bars]
    assert sum(counts) == len(gains)
    assert plot.bars[0].told.startswith("-0.5 to +0 dB: 1 image")
    for bar, count in zip(plot.bars, counts, strict=True):
        assert bar.y == plot.rows.place(count)
        assert math.isclose(bar.y + bar.height, HEIGHT - BOTTOM)
    assert plot.mean == plot.columns.place(sum(gains) / 5)
    assert all("." not in text for _, text in plot.rows.ticks)
    assert sum(int(bar.told.split(": ")[1].split()[0]) for bar in histogram([0.5]).bars) == 1


@pytest.mark.parametrize("log", [False, True])
def test_ticks_lie_on_the_axis_whatever_its_range(log: bool) -> None:
    """PSNR of 22.65 to 31.7 dB once had two steps of 5, and then those of a logarithmic axis."""
    for low in (0.001, 0.7, 22.65, 24.3, 29.97, 31.2, 4321.0):
        for wide in (0.01, 0.37, 1.9, 3.3, 9.1, 77.7):
            axis = Axis([low, low + wide], 100, 400, log=log)
            places = [place for place, _ in axis.ticks]
            assert 3 <= len(places) <= 16
            assert 100 <= min(places) <= max(places) <= 400
            if low < 100 and wide > 0.1:  # labels have four digits
                assert len({text for _, text in axis.ticks}) == len(places)
