"""The table that `make run` ends with."""

import json
from pathlib import Path
from typing import Any

import pytest
from finished_runs import finish

from scn import zoo
from scn.config.params import Params
from scn.core.errors import UserError
from scn.evaluation.page.page import write_page
from scn.evaluation.report import (
    BESIDE_HEADER,
    MARKS_OF_TABLE,
    lines,
    print_report,
    report_stage,
    shipped_table,
    write_shipped_table,
)
from scn.evaluation.runs import read_runs, read_shipped
from scn.registry.publish import publish


@pytest.fixture
def project(small_project: Any) -> Any:
    for name in ("sr-x2", "car-q10"):
        small_project.add_model(name)
        small_project.add_metrics(name)
    publish(small_project.params, "sr-x2")
    return small_project


def test_a_line_per_experiment_that_was_measured(project: Any) -> None:
    assert [line.cells() for line in lines(read_runs(project.params))] == [
        (
            "sr-x2",
            "sample/evaluation",
            "30.00 / 0.8000",
            "31.50 / 0.8150",
            "31.75 / 0.8175",
            "+1.50",
            "file://store/registry/sr-x2/v1",
        ),
        (
            "car-q10",
            "sample/evaluation",
            "30.00 / 0.8000",
            "31.50 / 0.8150",
            "31.75 / 0.8175",
            "+1.50",
            "not published",
        ),
    ]


def test_the_printed_table_names_figures_protocols_and_places(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(project.params)
    text = capsys.readouterr().out
    for part in (
        "self-ensemble",
        "30.00 / 0.8000",
        "+1.50",
        "file://store/registry/sr-x2/v1",
        "car-q10: not published",
        "sr-y-v1: luma, frame of scale pixels cropped",
        "car-y-v1: luma, no crop",
    ):
        assert part in text
    assert "dn-" not in text


def test_the_markdown_report(project: Any, tmp_path: Path) -> None:
    out = report_stage(project.params, tmp_path / "report.md")
    text = out.read_text()
    assert (
        "| sr-x2      | sample/evaluation | 30.00 / 0.8000 | 31.50 / 0.8150 | 31.75 / 0.8175 "
        "| +1.50 | file://store/registry/sr-x2/v1 |" in text
    )
    assert "- sr-y-v1: luma, frame of scale pixels cropped" in text
    assert report_stage(project.params, tmp_path / "again.md").read_text() == text


def test_nothing_measured_and_broken_files(small_project: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluations has no figures of any experiment yet: run `dvc repro` first"):
        report_stage(small_project.params, tmp_path / "report.md")
    small_project.add_model("sr-x2")
    path = small_project.add_metrics("sr-x2")
    whole = path.read_text()
    path.write_text(whole[:50])
    with pytest.raises(UserError, match=r"ensemble\.json holds no evaluation \(.*\): run `dvc repro ensemble@sr-x2`"):
        read_runs(small_project.params)
    path.write_text(whole.replace("ensemble", "elephant"))
    with pytest.raises(UserError, match="The figures of sr-x2 lack self-ensemble: run `dvc repro ensemble@sr-x2`"):
        read_runs(small_project.params)
    assert not (tmp_path / "report.md").exists()


def test_an_experiment_that_is_left_out_is_told(
    project: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add_model("sr-x2", seed=1)
    told = "The figures of sr-x2 are of other weights than models/sr-x2/model.safetensors, and left out: run"
    print_report(project.params)
    for text in (
        capsys.readouterr().out,
        report_stage(project.params, tmp_path / "report.md").read_text(),
        write_page(project.params, tmp_path / "report.html", timed=False).read_text(),
    ):
        assert told in text
        assert "car-q10" in text


@pytest.fixture
def finished(tmp_path: Path) -> Params:
    return finish(tmp_path / "finished", {"sr-x2": ("sr", 2)})


def test_published_figures_stand_beside_ours(finished: Params, capsys: pytest.CaptureFixture[str]) -> None:
    mean = read_runs(finished)[0].evaluation.sets["Set5"].mean["sr-y-v1"]
    print_report(finished)
    text = capsys.readouterr().out
    assert "super-resolution, scale 2, Set5, sr-y-v1: beside published figures" in text
    assert "Ours, in differences and marks: sr-x2, with self-ensemble where theirs has it." in text
    assert "sample/evaluation: beside" not in text
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines()}
    assert rows["SCN"][1:6] == ["38.18", "/", "0.9614", f"{mean['model'].psnr - 38.18:+.2f}", "19,436,956"]
    assert rows["SCN+"][4] == f"{mean['ensemble'].psnr - 38.29:+.2f}"
    assert "S: its parameters differ from ours by more than 10%" in text
    assert "scn-aaai2020: Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020" in text


def test_the_markdown_has_them_in_the_order_of_psnr(finished: Params, tmp_path: Path) -> None:
    text = report_stage(finished, tmp_path / "report.md").read_text()
    table = text.partition("beside published figures\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines()]
    assert tuple(rows[0]) == BESIDE_HEADER
    psnr = [float(row[1].split(" / ")[0]) for row in rows[2:]]
    assert psnr == sorted(psnr)
    assert [row[0] for row in rows if "**" in row[0]] == ["**sr-x2**", "**sr-x2, self-ensemble**"]


def test_models_that_ship_are_told_apart(finished: Params, tmp_path: Path) -> None:
    shipped = read_shipped(Path(zoo.__file__).parent / "dn-s25")
    text = report_stage(finished, tmp_path / "report.md", [shipped]).read_text()
    assert "| dn-s25 (ships) | BSD68 " in text
    assert "denoising, sigma 25, BSD68" in text


def test_the_readme_has_the_table_of_the_models_that_ship() -> None:
    folder = Path(zoo.__file__).parent  # fixtures put another folder in the place of the zoo's
    shipped = [read_shipped(path.parent) for path in sorted(folder.glob("*/manifest.json"))]
    table = shipped_table(shipped)
    assert {line.split("|")[1].strip(" `") for line in table.splitlines()[2:]} == {run.name for run in shipped}
    first, last = MARKS_OF_TABLE
    assert f"\n{first}\n{table}\n{last}\n" in (Path(__file__).parents[3] / "README.md").read_text(), (
        "run `scn report --table README.md`"
    )


def test_the_table_of_the_models_that_ship_names_published_figures_by_psnr(tmp_path: Path) -> None:
    run = read_shipped(Path(zoo.__file__).parent / "dn-s25")
    figures = run.evaluation.sets["BSD68"].mean["dn-grey-v1"]
    cells = ("`dn-s25`", "BSD68", *(str(figures[key]) for key in ("input", "model", "ensemble")))
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in shipped_table([run]).splitlines()]
    assert (*cells, "BM3D 28.57, TNRD 28.92, DnCNN 29.23") in rows
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- models that ship -->\nold\n<!-- end of models that ship -->\nafter\n")
    write_shipped_table(path, [run])
    write_shipped_table(path, [run])
    before, *table, after = path.read_text().splitlines()
    assert (before, table, after) == (
        "before",
        [MARKS_OF_TABLE[0], *shipped_table([run]).splitlines(), MARKS_OF_TABLE[1]],
        "after",
    )


@pytest.mark.parametrize("text", [None, "no place\n", "<!-- end of models that ship -->\n"])
def test_a_page_without_a_place_for_the_table_is_told(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "page.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"page\.md has no place for the table: write the lines <!-- models"):
        write_shipped_table(path, [])
    assert (path.read_text() if path.exists() else None) == text


def test_figures_of_two_protocols_stand_in_two_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = finish(tmp_path, {"sr-x4": ("sr", 4)}, sets=("DIV2K/validation",))
    path = tmp_path / "evaluations/sr-x4/ensemble.json"
    evaluation = json.loads(path.read_text())
    evaluation["sets"]["DIV2K/validation"]["mean"] = {
        rule: {
            method: {"psnr": psnr + gain, "ssim": 0.8}
            for method, gain in (("input", -2.0), ("model", 0.0), ("ensemble", 0.1))
        }
        for rule, psnr in (("sr-y-v1", 30.0), ("sr-rgb-v1", 28.6))
    }
    path.write_text(json.dumps(evaluation))
    text = report_stage(params, tmp_path / "report.md").read_text()
    assert "under the first protocol of each task (sr-y-v1)" in text
    luma, rgb = (
        [[cell.strip("* ") for cell in line.strip("| ").split("|")] for line in table.splitlines() if "|" in line]
        for table in text.split("\n## ")[1:]
    )
    ours = [
        {row[0]: row[1:3] for row in table if row[0] in ("sr-x4", "SCN", "SRResNet-MS-Conv")} for table in (luma, rgb)
    ]
    assert ours == [
        {"sr-x4": ["30.00 / 0.8000", ""], "SRResNet-MS-Conv": ["30.31", "-0.31"]},
        {"sr-x4": ["28.60 / 0.8000", ""], "SCN": ["29.18 / 0.8253", "-0.58"]},
    ]
    assert "- sr-rgb-v1: RGB, frame of scale + 6 pixels cropped" in text
    print_report(params)
    told = capsys.readouterr().out
    assert "DIV2K/validation, sr-y-v1: beside" in told
    assert "DIV2K/validation, sr-rgb-v1: beside" in told
    assert told.count("Ours, in differences and marks: sr-x4, with self-ensemble") == 2


def test_names_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = finish(tmp_path, {"sr-x2": ("sr", 2)}, sets=("Set5/[b]",))
    print_report(params)
    assert "Set5/[b]" in capsys.readouterr().out
