"""README.md and plot.svg of a study: its figures over the seeds, beside those that the paper prints."""

from collections.abc import Iterator
from pathlib import Path

from scn.core.files import write_atomically
from scn.evaluation.protocols import protocol
from scn.evaluation.report import markdown_table
from scn.studies.plot import Mark, Plot, Series, templates, write_plot
from scn.studies.records import PIXELS, Difference, Result, SetSummary, Spread, VariantResult

BESIDE = 0.06
"""Distance of a measured point and a printed one from the middle of their column, in columns."""


def write_page(result: Result, folder: Path) -> None:
    """Writes README.md and plot.svg into a folder."""
    text = templates().get_template("page.md.jinja").render(
        result=result, about=result.provenance, rule=protocol(result.provenance.protocol).title,
        tables=list(_tables(result)),
    )  # fmt: skip
    write_atomically(folder / "README.md", text.encode())
    write_plot(folder / "plot.svg", plot_of(result))


def plot_of(result: Result) -> Plot:
    """The plot of a result, for the first set that has printed figures, or else the first one.

    A sweep has a curve for each variant, a study whose variants have places a curve for each line; others a column for
    each variant, with the difference from the reference, ours and printed.
    """
    set_name = next((name for name in _printed_sets(result) if name in result.input), next(iter(result.input)))
    on = f"{result.title}, {set_name}"
    if result.sweep:
        curves = [
            Series(
                name=f"{about.title}",
                marks=[_mark(point.value, point.sets[set_name].psnr) for point in about.sweep],
                joined=True,
            )
            for about in result.variants.values()
        ]
        return Plot(title=on, x=f"{result.sweep} at evaluation", y=_curves_axis(result), series=curves)
    if any(about.line for about in result.variants.values()):
        lines: dict[str, list[Mark]] = {}
        for about in result.variants.values():
            assert about.line is not None
            assert about.x is not None
            lines.setdefault(about.line, []).append(_mark(about.x, about.sets[set_name].psnr))
        curves = [Series(name=name, marks=marks, joined=True) for name, marks in lines.items()]
        return Plot(title=on, x=result.axis, y=_curves_axis(result), series=curves)
    places = {name: float(i) for i, name in enumerate(result.variants)}
    ours = [_against(places[name] - BESIDE, about.sets[set_name].difference) for name, about in result.variants.items()]
    series = [Series(name="measured, 95 %", marks=ours)]
    if printed := _printed_differences(result, set_name):
        marks = [Mark(x=places[name] + BESIDE, y=value) for name, value in printed.items()]
        series.append(Series(name=f"printed, {_printed_on(result, set_name)}", marks=marks, hollow=True))
    return Plot(
        title=on,
        x="",
        y=f"PSNR minus that of {result.variants[result.reference].title} [dB]",
        series=series,
        ticks={place: name for name, place in places.items()},
    )


def _curves_axis(result: Result) -> str:
    """The name of the vertical axis of curves, with what their bars are; one seed has none."""
    return "PSNR [dB]" + (", ± standard deviation of a seed" if result.seeds > 1 else "")


def _tables(result: Result) -> Iterator[tuple[str, str]]:
    """Heading and table of every evaluation set, and of its sweep."""
    for set_name, degraded in result.input.items():
        images = result.provenance.images[set_name]
        heading = f"{set_name}, {images} image{'s' if images > 1 else ''}, degraded {degraded}"
        yield heading, _table(result, set_name)
        if result.sweep:
            yield f"{set_name}: PSNR by {result.sweep} at evaluation", _sweep_table(result, set_name)


def _table(result: Result, set_name: str) -> str:
    on = _printed_on(result, set_name)
    reference = result.variants[result.reference].title
    header = [
        "variant",
        "steps",
        "parameters",
        f"multiply-adds, {PIXELS}x{PIXELS}",
        "PSNR",
        "SSIM",
        f"difference from {reference}",
    ]
    if on:
        header += [f"printed, {on}", "printed difference"]
    printed = _printed_differences(result, on) if on else {}
    rows = []
    for name, about in result.variants.items():
        figures = about.sets[set_name]
        row = [
            about.title,
            str(about.steps),
            _beside(f"{about.parameters:,}", about.printed_parameters),
            _beside(f"{about.macs / 1e9:.2f} G", about.printed_macs),
            _shown(figures.psnr, 3),
            _shown(figures.ssim, 4),
            _difference(figures.difference),
        ]
        if on:
            row += [f"{about.printed[on]:.2f}" if on in about.printed else ""]
            row += [f"{printed[name]:+.2f}" if name in printed and name != result.reference else ""]
        rows.append(tuple(row))
    return markdown_table(tuple(header), rows)


def _sweep_table(result: Result, set_name: str) -> str:
    """One row for each value: PSNR and its difference from the pyramid of the training, for each variant."""
    header = [str(result.sweep)]
    for about in result.variants.values():
        header += [about.title, "difference from training"]
    cells: dict[float, list[str]] = {}
    for value in sorted({point.value for about in result.variants.values() for point in about.sweep}):
        cells[value] = [f"{value:g}"]
        for about in result.variants.values():
            point = next((point for point in about.sweep if point.value == value), None)
            cells[value] += _point(point.sets[set_name], trained=point.trained) if point else ["", ""]
    return markdown_table(tuple(header), [tuple(row) for row in cells.values()])


def _point(figures: SetSummary, *, trained: bool) -> list[str]:
    return [_shown(figures.psnr, 3), "in training" if trained else _difference(figures.difference)]


def _shown(spread: Spread, digits: int) -> str:
    return f"{spread.mean:.{digits}f}" + ("" if spread.std is None else f" ± {spread.std:.{digits}f}")


def _difference(found: Difference | None) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.mean:+.3f}"
    text = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"**{text}**" if found.clear else text


def _beside(ours: str, printed: str) -> str:
    return f"{ours} (printed {printed})" if printed else ours


def _printed_sets(result: Result) -> list[str]:
    return list(dict.fromkeys(name for about in result.variants.values() for name in about.printed))


def _printed_on(result: Result, set_name: str) -> str:
    """The set whose printed figures stand beside those on `set_name`: the same, or else the paper's first."""
    printed = _printed_sets(result)
    return set_name if set_name in printed else next(iter(printed), "")


def _printed_differences(result: Result, set_name: str) -> dict[str, float]:
    """Variant -> printed PSNR minus that of the reference, on the set or else on the paper's first."""
    on = _printed_on(result, set_name)
    reference: VariantResult = result.variants[result.reference]
    if on not in reference.printed:
        return {}
    return {
        name: round(about.printed[on] - reference.printed[on], 4)
        for name, about in result.variants.items()
        if on in about.printed
    }


def _mark(x: float, figures: Spread) -> Mark:
    if figures.std is None:
        return Mark(x=x, y=figures.mean)
    return Mark(x=x, y=figures.mean, low=figures.mean - figures.std, high=figures.mean + figures.std)


def _against(x: float, found: Difference | None) -> Mark:
    return Mark(x=x, y=0) if found is None else Mark(x=x, y=found.mean, low=found.low, high=found.high)
