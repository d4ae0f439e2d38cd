"""Draws series of points with error bars into an SVG file, by a template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from scn.core.files import write_atomically

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 70, 190, 40, 56
"""Sides of the drawing and of its margins in pixels; the legend stands in the right one."""
COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8e6c8a", "#b8860b", "#444444")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of a series."""

    x: float
    y: float
    low: float | None = None
    """Lower end of its error bar; None: it has none."""
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind."""

    name: str
    marks: Sequence[Mark]
    joined: bool = False
    """True: a line joins the points."""
    hollow: bool = False
    """True: the points are hollow, as those that a paper prints."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot of several series."""

    title: str
    x: str
    """Name of the horizontal axis."""
    y: str
    """Name of the vertical axis, with its unit."""
    series: Sequence[Series]
    ticks: Mapping[float, str] = field(default_factory=dict)
    """Labels on the horizontal axis; empty: round numbers."""


class Axis:
    """Maps values to pixels between `start` and `end`, with a margin around the values."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        margin = 0.06 * (max(values) - min(values)) or max(1e-3, 0.001 * abs(values[0]))
        self.low, self.high = min(values) - margin, max(values) + margin
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        """The pixel of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> dict[float, str]:
        """Up to eight round values inside the axis, with their labels."""
        raw = (self.high - self.low) / 8
        unit = 10 ** floor(log10(raw))
        step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw * 0.999)
        digits = max(0, ceil(-log10(step) - 1e-9))
        values = [i * step for i in range(ceil(self.low / step), floor(self.high / step) + 1)]
        return {round(value, 10): f"{value:.{digits}f}" for value in values}


def write_plot(path: Path, plot: Plot) -> None:
    """Writes an SVG file, whole or not at all; the same for the same plot."""
    marks = [mark for series in plot.series for mark in series.marks]
    ends = [end for mark in marks for end in (mark.low, mark.y, mark.high) if end is not None]
    columns = Axis([*(mark.x for mark in marks), *plot.ticks], LEFT, WIDTH - RIGHT)
    rows = Axis(ends, HEIGHT - BOTTOM, TOP)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(plot.series))]
    text = templates().get_template("plot.svg.jinja").render(
        plot=plot, columns=columns, rows=rows, ticks=plot.ticks or columns.ticks(), colours=colours,
        width=WIDTH, height=HEIGHT, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM,
    )  # fmt: skip
    write_atomically(path, text.encode())


def templates() -> Environment:
    """The templates of studies; what is put into an SVG file is escaped."""
    return Environment(
        loader=PackageLoader("scn.studies", ""),
        undefined=StrictUndefined,
        autoescape=lambda name: bool(name) and ".svg." in str(name),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
