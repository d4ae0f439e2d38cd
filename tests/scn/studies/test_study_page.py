"""README.md and plot.svg of a study, from a result that was made by hand."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.inference.records import Figures
from scn.studies.page import plot_of, write_page
from scn.studies.plot import Axis, Mark, Plot, Series, write_plot
from scn.studies.records import PointSummary, Result, Row, StudyProvenance, VariantResult
from scn.studies.result import computed_unlike
from scn.studies.spread import summary

SVG = "{http://www.w3.org/2000/svg}"
SET = "Set5"


def figures(*psnr: float) -> list[Figures]:
    return [Figures(psnr=value, ssim=0.9) for value in psnr]


def variant(title: str, psnr: list[Figures], reference: list[Figures] | None, **about: Any) -> VariantResult:
    usual = {"steps": 100, "parameters": 12345, "macs": 2_500_000_000, "model": {}, "train": {}, "printed": {}}
    usual |= {"printed_parameters": "", "printed_macs": "", "sweep": []}
    return VariantResult(**{**usual, "title": title, "sets": {SET: summary(psnr, reference)}, **about})


def result(**about: Any) -> Result:
    worse, better = figures(30.0, 30.2, 30.4), figures(30.5, 30.71, 30.9)
    provenance = StudyProvenance(
        protocol="sr-y-v1", precisions=["float32"], training_data_sha256="a" * 64, evaluation_data_sha256="b" * 64,
        training_images=7, corpora={"T91": "c" * 64}, images={SET: 5}, measuring_code_sha256="d" * 64,
        machines=["one CPU"], commits=[], seconds=60,
    )  # fmt: skip
    rows = [
        Row(variant="a", seed=seed, steps=100, sets={SET: each}, further={}, sweep=[], seconds=20,
            weights_sha256="e" * 64, training_code_sha256="f" * 64, measured="0" * 64, precision="float32",
            machine="one CPU")
        for seed, each in enumerate(worse)
    ]  # fmt: skip
    usual: dict[str, Any] = {
        **{"study": "mine", "title": "A < B", "paper": "Somebody: 2020", "table": "Table 9", "question": "Is it?"},
        **{"equal": "all.", "unlike": "nothing.", "printed_how": "PSNR.", "printed_note": "", "task": "sr"},
        **{"level": 2, "size": "small", "settings": [], "experiment": "sr-x2", "seeds": 3, "steps": 100},
        **{"reference": "a", "axis": "", "input": {SET: Figures(psnr=29.0, ssim=0.8)}, "rows": rows},
        "variants": {
            "a": variant("A", worse, None, printed={SET: 34.70}, printed_parameters="1.2 M"),
            "b": variant("B", better, worse, printed={SET: 34.74}),
        },
        "provenance": provenance,
    }
    return Result(**{**usual, **about})


def test_a_result_of_another_format_is_none() -> None:
    written = result().dumps()
    assert Result.loads(written, Path("result.json"), "") == result()
    with pytest.raises(UserError, match=r"^result\.json holds no result \(format: input should be 1\)"):
        Result.loads(written.replace(b'"format": 1', b'"format": 2'), Path("result.json"), "carry it out again")


def test_rows_that_were_computed_in_different_ways_are_told_in_one_sentence(tmp_path: Path) -> None:
    first = result().rows[0]
    assert computed_unlike([first, first.model_copy(update={"trained_in": "CPU, bfloat16"})]) == ""  # an older row
    alike = first.model_copy(update={"trained_in": "CPU, bfloat16"})
    assert computed_unlike([alike, alike]) == ""
    for change, told in (
        ({"trained_in": "CPU, float32"}, "trained in CPU, bfloat16 and CPU, float32"),
        ({"precision": "bfloat16"}, "measured in bfloat16 and float32"),
        ({"trained_in": "B", "precision": "b"}, "trained in B and CPU, bfloat16, and measured in b and float32"),
    ):
        sentence = computed_unlike([alike, alike.model_copy(update=change)])
        assert sentence == f"Networks were {told}: differences between them may come of that."
    about = result().provenance.model_copy(update={"unlike": sentence})
    write_page(result(provenance=about), tmp_path)
    assert f"**{sentence}** " in (tmp_path / "README.md").read_text()


def row_of(page: str, title: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {title} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_has_measured_and_printed_figures(tmp_path: Path) -> None:
    write_page(result(), tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "## Set5, 5 images, degraded 29.00 / 0.8000" in page
    assert row_of(page, "A") == [
        *("A", "100", "12,345 (printed 1.2 M)", "2.50 G", "30.200 ± 0.200", "0.9000 ± 0.0000", "", "34.70", ""),
    ]
    difference = "**+0.503 [+0.489, +0.518]**"
    assert row_of(page, "B")[4:] == ["30.703 ± 0.200", "0.9000 ± 0.0000", difference, "34.74", "+0.04"]
    assert "\n\n![plot](plot.svg)\n\n" in page
    assert "A < B" in page  # Markdown is not escaped; SVG is
    assert ET.parse(tmp_path / "plot.svg").getroot().find(f"{SVG}text").text == "A < B, Set5"  # type: ignore[union-attr]


def test_settings_of_a_run_are_told_beside_what_is_declared(tmp_path: Path) -> None:
    warning = "- Held equal: all. As declared: the settings of this run go before it"
    for settings, told in (([], False), (["model.units=4"], True)):
        write_page(result(settings=settings), tmp_path)
        page = (tmp_path / "README.md").read_text()
        assert (warning in page) == told
        assert ("with `model.units=4`" in page) == told
        assert "\n- Unlike the paper: nothing." in page


def test_figures_printed_for_another_set_are_named(tmp_path: Path) -> None:
    variants = {
        "a": variant("A", figures(30.0), None, printed={"DIV2K/validation": 34.7}),
        "b": variant("B", figures(30.1), figures(30.0)),
    }
    write_page(result(variants=variants, seeds=1), tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| printed, DIV2K/validation |" in page
    assert row_of(page, "B") == ["B", "100", "12,345", "2.50 G", "30.100", "0.9000", "+0.100", "", ""]
    assert [series.name for series in plot_of(result(variants=variants)).series][1:] == ["printed, DIV2K/validation"]


def test_columns_show_differences_beside_the_printed_ones() -> None:
    plot = plot_of(result())
    assert [series.name for series in plot.series] == ["measured, 95 %", f"printed, {SET}"]
    measured, printed = plot.series
    assert [mark.y for mark in measured.marks] == [0, 0.5033]
    assert measured.marks[1].low == pytest.approx(0.489, abs=1e-3)
    assert [mark.y for mark in printed.marks] == [0, 0.04]
    assert printed.hollow
    assert plot.ticks == {0.0: "a", 1.0: "b"}


def test_places_make_curves() -> None:
    variants = {
        name: variant(name, figures(psnr, psnr + 0.2), None, line=line, x=x)
        for name, psnr, line, x in (("one", 30.0, "p", 1), ("two", 31.0, "q", 2), ("three", 32.0, "q", 4))
    }
    plot = plot_of(result(variants=variants, reference="one", axis="scales"))
    assert (plot.x, plot.y) == ("scales", "PSNR [dB], ± standard deviation of a seed")
    assert {s.name: [(m.x, m.y) for m in s.marks] for s in plot.series} == {
        "p": [(1, 30.1)],
        "q": [(2, 31.1), (4, 32.1)],
    }
    assert plot.series[0].marks[0].high == pytest.approx(30.1 + 0.1414, abs=1e-4)


def test_a_sweep_has_a_table_and_curves(tmp_path: Path) -> None:
    own, other = figures(30.0, 30.2), figures(29.0, 29.1)
    points = [
        PointSummary(value=3.0, trained=True, sets={SET: summary(own)}),
        PointSummary(value=4.0, trained=False, sets={SET: summary(other, own)}),
    ]
    variants = {"a": variant("A", own, None, sweep=points), "b": variant("B", own, own, sweep=points[:1])}
    swept = result(variants=variants, sweep="scales", seeds=2)
    write_page(swept, tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "## Set5: PSNR by scales at evaluation" in page
    assert row_of(page, "3") == ["3", "30.100 ± 0.141", "in training", "30.100 ± 0.141", "in training"]
    assert row_of(page, "4") == ["4", "29.050 ± 0.071", "**-1.050 [-1.685, -0.415]**", "", ""]
    plot = plot_of(swept)
    assert plot.y == "PSNR [dB], ± standard deviation of a seed"
    assert plot_of(swept.model_copy(update={"seeds": 1})).y == "PSNR [dB]"
    assert [(mark.x, mark.y) for mark in plot.series[0].marks] == [(3, 30.1), (4, 29.05)]
    assert all(series.joined for series in plot.series)


def test_a_plot_draws_points_bars_and_lines_where_they_belong(tmp_path: Path) -> None:
    series = [
        Series(name="low & high", marks=[Mark(x=0, y=1, low=0.5, high=1.5), Mark(x=1, y=2)], joined=True),
        Series(name="printed", marks=[Mark(x=1, y=0)], hollow=True),
    ]
    write_plot(tmp_path / "p.svg", Plot(title="t", x="x", y="y", series=series))
    root = ET.parse(tmp_path / "p.svg").getroot()
    circles = [e for e in root.iter(f"{SVG}circle") if e.get("class") != "legend"]
    (x0, y0), (x1, y1), (x2, y2) = [(float(e.attrib["cx"]), float(e.attrib["cy"])) for e in circles]
    assert x0 < x1 == x2
    assert y1 < y0 < y2  # upwards, in pixels from the top
    (bar,) = [e.attrib["d"] for e in root.iter(f"{SVG}path") if e.get("class") == "bar"]
    bottom, top = map(float, re.findall(r"[ V]([\d.]+)", bar))
    assert top < y0 < bottom
    (line,) = root.iter(f"{SVG}polyline")
    assert line.attrib["points"].split() == [f"{x0},{y0}", f"{x1},{y1}"]
    assert {"low & high", "printed", "t", "x", "y"} <= {e.text for e in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("values", [(30.0, 30.01), (0.5, 0.85), (1, 12), (-0.3, 0.4), (31.0,)])
def test_ticks_are_few_round_and_inside(values: tuple[float, ...]) -> None:
    axis = Axis(values, 0, 100)
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 9
    assert all(0 <= axis.place(value) <= 100 for value in ticks)
    assert all(float(label) == pytest.approx(value) for value, label in ticks.items())
    assert len(set(ticks.values())) == len(ticks)


def test_a_study_of_nobodys_paper_speaks_of_none(tmp_path: Path) -> None:
    none = {"printed": {}, "printed_parameters": ""}
    variants = {name: about.model_copy(update=none) for name, about in result().variants.items()}
    nothing = dict.fromkeys(("paper", "table", "equal", "unlike", "printed_how"), "")
    write_page(result(**nothing, variants=variants), tmp_path)
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[2:5] == ["Is it?", "", "- Held equal: images, patches, steps and recipe."]
    assert lines[5].startswith("- This run: ")
    assert not any(word in line for line in lines for word in ("Unlike", "Printed", "printed"))
