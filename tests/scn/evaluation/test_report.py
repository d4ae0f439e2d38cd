"""The table that `make run` ends with."""

from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.evaluation.report import lines, print_report, report_stage
from scn.registry.publish import publish


@pytest.fixture
def project(small_project: Any) -> Any:
    for name in ("sr-x2", "car-q10"):
        small_project.add_model(name)
        small_project.add_metrics(name)
    publish(small_project.params, "sr-x2")
    return small_project


def test_a_line_per_experiment_that_was_measured(project: Any) -> None:
    assert [line.cells() for line in lines(project.params)] == [
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
        lines(small_project.params)
    path.write_text(whole.replace("ensemble", "elephant"))
    with pytest.raises(UserError, match="The figures of sr-x2 lack self-ensemble: run `dvc repro ensemble@sr-x2`"):
        lines(small_project.params)
    assert not (tmp_path / "report.md").exists()
