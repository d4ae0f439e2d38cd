"""Draws lines into an SVG file. Matplotlib would install pillow, which must not stand beside pillow-simd."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10
from pathlib import Path

from scn.core.files import write_atomically

Points = Sequence[tuple[float, float]]
"""Points (x, y) of a line."""
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 64, 48, 36, 16
COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8e6c8a")


def write_lines(path: Path, title: str, x: str, y: str, lines: Mapping[str, Points]) -> None:
    """Writes an SVG file with one line for each name of `lines`; `x` and `y` label the axes, with their units."""
    points = [point for line in lines.values() for point in line]
    columns, rows = (_Axis([point[i] for point in points], *span) for i, span in enumerate(_SPANS))
    parts = [f'<text x="{WIDTH / 2}" y="20" text-anchor="middle" font-size="14">{escape(title)}</text>']
    for value in columns.ticks():
        at = columns.place(value)
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    for value in rows.ticks():
        at = rows.place(value)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        way = " ".join(f"{columns.place(a):.1f},{rows.place(b):.1f}" for a, b in line)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = HEIGHT - BOTTOM - 12 - 16 * (len(lines) - 1 - number)
        parts.append(f'<text x="{WIDTH - RIGHT - 8}" y="{at}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x)}</text>')
    parts.append(f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>'
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    write_atomically(path, "\n".join([head, background, *parts, "</svg>\n"]).encode())


_SPANS = ((LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP))


class _Axis:
    """Maps values to places between `start` and `end` in pixels."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        margin = 0.05 * (high - low) or 1.0
        self.low, self.high, self.start, self.end = low - margin, high + margin, start, end

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Four to ten round values in the range of the axis."""
        raw = (self.high - self.low) / 5
        unit = 10 ** floor(log10(raw))
        step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
        first = floor(self.low / step) + 1
        return [round(i * step, 10) for i in range(first, floor(self.high / step) + 1)]
