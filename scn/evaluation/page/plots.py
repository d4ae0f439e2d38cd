"""Plots as the templates draw them: places in pixels, ticks, labels that do not cover each other."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scn.evaluation.runs import Curve

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 12, 44
"""Margins in pixels, with room for the labels of the axes."""
LETTER, LINE = 6.5, 14.0
"""Width of a letter and height of a line of a label, in pixels, about."""
MOST_POINTS = 240
"""Points of a curve that are drawn; more are averaged in groups."""
MOST_BINS = 24

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""
Kind = Literal["input", "model", "ensemble", "published"]
"""What a row or a point is: the degraded input, our model, our model with self-ensemble, or a published method."""


class Axis:
    """Maps values to pixels between `start` and `end`, linearly or by the logarithm."""

    def __init__(
        self, values: Iterable[float], start: float, end: float, *, log: bool = False, margin: float = 0.06
    ) -> None:
        """Makes an axis that holds `values`, with a margin on both sides, as a share of their span.

        Raises:
            ValueError: if there are no values, or log is asked for with values that are not positive.
        """
        self.log, self.start, self.end = log, start, end
        known = [self._inner(value) for value in values]
        low, high = min(known), max(known)
        # Rounding alone tells means of equal values apart: an axis of that span has no ticks and no decades.
        spread = high - low > 1e-9 * (1 if log else max(abs(low), abs(high)))
        wide = (high - low) * margin if spread else 0.5 if log else 0.05 * abs(low) or 1
        self.low, self.high = low - wide, high + wide

    def place(self, value: float) -> float:
        """Returns the pixel of a value."""
        share = (self._inner(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The pixel and the label of each tick: three to seven round values."""
        values = _decades(self.low, self.high) if self.log else _steps(self.low, self.high)
        if self.log and len(values) < 3:  # over a narrow range
            values = [value for value in _steps(10**self.low, 10**self.high) if value > 0]
        return [(self.place(value), label(value, () if self.log else values)) for value in values]

    @property
    def data(self) -> Mapping[str, float | bool]:
        """What turns pixels back into values: value = low + (pixel - start) / (end - start) (high - low)."""
        return {"low": self.low, "high": self.high, "start": self.start, "end": self.end, "log": self.log}

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.log else value


def _steps(low: float, high: float) -> list[float]:
    """Round values at equal distances from `low` to `high`, at least three."""
    return next(values for parts in (5, 7, 9, 12) if len(values := _round_values(low, high, parts)) > 2)


def _round_values(low: float, high: float, parts: int) -> list[float]:
    raw = (high - low) / parts
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten and round values between them, from the exponents `low` to `high`."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    values: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5)):
        if len(values) < 3:
            values = [factor * 10.0**power for power in decades for factor in factors]
            values = [value for value in values if low <= math.log10(value) <= high]
    return values[:: math.ceil(len(values) / 7)] if values else []


def label(value: float, among: Sequence[float]) -> str:
    """Returns a value as a short text with as many digits as tell it from those around it: 1.2M, 20k, 33.50.

    Args:
        among: all values of the axis, where they stand at equal distances; empty: at others.
    """
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    if value and abs(value) < 1e-3:
        return f"{value:.3g}".replace("e-0", "e-")
    if len(among) < 2:
        return f"{value:.4g}"
    gap = min(b - a for a, b in itertools.pairwise(among))
    digits = max(0, math.ceil(-math.log10(gap) - 1e-9))
    digits += not math.isclose(gap, round(gap, digits), rel_tol=1e-6)  # steps of 2.5 or 0.25
    return f"{value:.{digits}f}" if abs(value) >= 1 or not value else f"{value:.{max(1, digits)}g}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of a scatter plot, before it has a place."""

    name: str
    x: float
    y: float
    kind: Kind
    told: str
    """What a reader is told who points at it."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A point with its place in pixels, and that of its label; label None: there was no room for it."""

    point: Point
    x: float
    y: float
    label: tuple[float, float, str] | None
    """x and y of the text, and its anchor: start, middle or end."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """Points over a logarithmic axis."""

    x_name: str
    y_name: str
    columns: Axis
    rows: Axis
    points: Sequence[Placed]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve: the number of its run, the run's name, and its path as SVG writes it."""

    number: int
    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Curves over steps."""

    title: str
    y_name: str
    """Name of the vertical axis; empty where the title says it."""
    columns: Axis
    rows: Axis
    lines: Sequence[Line]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar of a histogram in pixels, and what it counts."""

    x: float
    y: float
    width: float
    height: float
    told: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many images gain how much."""

    columns: Axis
    rows: Axis
    bars: Sequence[Bar]
    mean: float
    """The pixel of the mean."""


def scatter(points: Sequence[Point], x_name: str, y_name: str) -> Scatter | None:
    """Returns the plot of points whose x is positive; None if there are none."""
    if not points:
        return None
    columns = Axis([point.x for point in points], LEFT, WIDTH - RIGHT, log=True, margin=0.12)
    rows = Axis([point.y for point in points], HEIGHT - BOTTOM, TOP, margin=0.12)
    return Scatter(x_name=x_name, y_name=y_name, columns=columns, rows=rows, points=_placed(points, columns, rows))


def lines(title: str, y_name: str, curves: Mapping[tuple[int, str], Curve], *, log: bool = False) -> Lines | None:
    """Returns the plot of curves, by number and name of their run; on a logarithmic axis only their positive values."""
    kept = {key: [point for point in _thinned(curve) if not log or point[1] > 0] for key, curve in curves.items()}
    kept = {key: curve for key, curve in kept.items() if curve}
    if not kept:
        return None
    columns = Axis([0, *(x for curve in kept.values() for x, _ in curve)], LEFT, WIDTH - RIGHT, margin=0)
    rows = Axis([y for curve in kept.values() for _, y in curve], HEIGHT - BOTTOM, TOP, log=log)
    drawn = [Line(number=number, name=name, path=_path(kept[number, name], columns, rows)) for number, name in kept]
    return Lines(title=title, y_name=y_name, columns=columns, rows=rows, lines=drawn)


def histogram(gains: Sequence[float]) -> Histogram:
    """Returns how often gains in dB fall into bins of a round width; `gains` must not be empty."""
    width = _bin_width(gains)
    first = math.floor(min(gains) / width)
    counts = [0] * (math.floor(max(gains) / width) - first + 1)
    for value in gains:
        counts[math.floor(value / width) - first] += 1
    edges = [round((first + i) * width, 6) for i in range(len(counts) + 1)]
    columns = Axis(edges, LEFT, WIDTH - RIGHT, margin=0.02)
    rows = Axis([0, max(5, *counts)], HEIGHT - BOTTOM, TOP, margin=0)  # so that ticks are whole numbers
    bars = [
        Bar(
            x=columns.place(low) + 0.5,
            y=rows.place(count),
            width=round(columns.place(high) - columns.place(low) - 1, 1),
            height=round(rows.start - rows.place(count), 1),
            told=f"{low:+g} to {high:+g} dB: {count} image{'s' if count > 1 else ''}",
        )
        for (low, high), count in zip(itertools.pairwise(edges), counts, strict=True)
        if count
    ]
    return Histogram(columns=columns, rows=rows, bars=bars, mean=columns.place(sum(gains) / len(gains)))


def _bin_width(gains: Sequence[float]) -> float:
    """The narrowest round width that gives about as many bins as the square root of the images, doubled."""
    bins = min(MOST_BINS, max(4, round(2 * math.sqrt(len(gains)))))
    raw = max(max(gains) - min(gains), 0.01) / bins
    unit = 10.0 ** math.floor(math.log10(raw))
    return next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * 0.999)


def _thinned(curve: Curve) -> Curve:
    """The curve with at most MOST_POINTS points: means of neighbours."""
    group = max(1, math.ceil(len(curve) / MOST_POINTS))
    parts = [curve[i : i + group] for i in range(0, len(curve), group)]
    return [(_mean([x for x, _ in part]), _mean([y for _, y in part])) for part in parts]


def _mean(values: Sequence[float]) -> float:
    """The mean; of equal values the value itself, which a sum need not give back."""
    return values[0] if min(values) == max(values) else sum(values) / len(values)


def _path(curve: Curve, columns: Axis, rows: Axis) -> str:
    return "M" + "L".join(f"{columns.place(x):g},{rows.place(y):g}" for x, y in curve)


def _placed(points: Sequence[Point], columns: Axis, rows: Axis) -> list[Placed]:
    """Gives points their places and labels theirs, ours first, where they cover neither points nor other labels."""
    dots = [(columns.place(point.x), rows.place(point.y)) for point in points]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    labels: dict[int, tuple[float, float, str]] = {}
    for i in sorted(range(len(points)), key=lambda i: points[i].kind == "published"):
        found = next(_free(dots[i], points[i].name, taken), None)
        if found:
            labels[i], box = found
            taken.append(box)
    return [
        Placed(point=point, x=x, y=y, label=labels.get(i))
        for i, (point, (x, y)) in enumerate(zip(points, dots, strict=True))
    ]


def _free(dot: tuple[float, float], name: str, taken: Sequence[Box]) -> Iterator[tuple[tuple[float, float, str], Box]]:
    """The places around a dot where a label has room, with the room that it takes."""
    x, y = dot
    wide = LETTER * len(name)
    for dx, dy, anchor in (
        (9, 4, "start"),
        (-9, 4, "end"),
        (0, -9, "middle"),
        (0, 17, "middle"),
        (8, -8, "start"),
        (8, 15, "start"),
        (-8, -8, "end"),
        (-8, 15, "end"),
    ):
        left = x + dx - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        box = (left, y + dy - LINE + 3, left + wide, y + dy + 3)
        inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
        own = (x - 5, y - 5, x + 5, y + 5)
        if inside and not any(_meet(box, other) for other in taken if other != own):
            yield (round(x + dx, 1), round(y + dy, 1), anchor), box


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
