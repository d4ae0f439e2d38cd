"""The folders that `dvc metrics` and `dvc plots` read."""

import json
from pathlib import Path
from typing import Any

import pytest

from scn.cli import app
from scn.core.errors import UserError
from scn.evaluation.for_dvc import write_metrics, write_plots
from scn.evaluation.runs import read_curves


def test_metrics_are_figures_alone_of_what_was_measured(small_project: Any, tmp_path: Path) -> None:
    for name in ("dn-s25", "sr-x2"):
        small_project.add_model(name)
        small_project.add_metrics(name, psnr=20.0)
    folder = tmp_path / "metrics"
    assert write_metrics(small_project.params, folder) == [folder / "sr-x2.json", folder / "dn-s25.json"]
    small_project.add_model("sr-x2", seed=1)  # trained again, and not measured
    write_metrics(small_project.params, folder)
    assert [path.name for path in folder.iterdir()] == ["dn-s25.json"]  # nothing of before is left
    assert json.loads((folder / "dn-s25.json").read_text()) == {
        "sample/evaluation": {
            "input": {"psnr": 20.0, "ssim": 0.8},
            "model": {"psnr": 21.5, "ssim": 0.815},
            "ensemble": {"psnr": 21.75, "ssim": 0.8175},
        }
    }


def test_plots_are_the_curves_of_every_experiment(small_project: Any, tmp_path: Path) -> None:
    for name in ("sr-x2", "car-q10"):
        tables = small_project.root / "curves" / name / "plots" / "metrics"
        tables.mkdir(parents=True)
        (tables / "loss.tsv").write_text(f"step\tloss\n1\t{len(name)}\n")
    files = write_plots(small_project.params, tmp_path / "plots")
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "plots/sr-x2/loss.tsv",
        "plots/car-q10/loss.tsv",
    ]
    assert files[1].read_text() == "step\tloss\n1\t7\n"


def test_the_files_of_an_experiment_that_was_renamed_are_replaced(small_project: Any, tmp_path: Path) -> None:
    small_project.add_model("sr-x2")
    small_project.add_metrics("sr-x2")
    tables = small_project.root / "curves" / "sr-x2" / "plots" / "metrics"
    tables.mkdir(parents=True)
    (tables / "loss.tsv").write_text("step\tloss\n1\t7\n")
    for write, name, now in ((write_metrics, "sr-x2.json", "before.json"), (write_plots, "sr-x2", "before")):
        folder = tmp_path / name
        write(small_project.params, folder)
        (folder / name).rename(folder / now)
        write(small_project.params, folder)
        assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize("content", ["{}", '{"set": {"psnr": 20}}', "[]", "half"])
def test_figures_of_another_kind_are_left_alone(small_project: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "sr-x2.json").write_text(content)
    with pytest.raises(UserError, match=r"holds something else, such as sr-x2\.json: name a folder of its own"):
        write_metrics(small_project.params, tmp_path)


def test_a_folder_of_the_users_own_is_left_alone(small_project: Any, tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "photo.jpg").write_bytes(b"dear")
    for write in (write_metrics, write_plots):
        with pytest.raises(
            UserError, match=r"mine holds something else, such as sub/photo\.jpg: name a folder of its own"
        ):
            write(small_project.params, tmp_path / "mine")
    assert (tmp_path / "mine" / "sub" / "photo.jpg").read_bytes() == b"dear"


def test_a_folder_that_can_not_be_written_is_one_sentence(small_project: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file can't be written \(File exists\): make room there"):
        write_metrics(small_project.params, tmp_path / "file")


@pytest.mark.parametrize("folder", ["published", "evaluations", "curves", "curves/sr-x2/plots"])
def test_what_stages_made_is_left_alone(small_project: Any, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project.publish("sr-x2")
    table = small_project.root / "curves" / "sr-x2" / "plots" / "metrics" / "loss.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("step\tloss\n1\t2\n")
    monkeypatch.chdir(small_project.root)
    before = {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    assert before
    for option in ("--metrics", "--plots"):
        with pytest.raises(
            UserError, match=rf"^{folder} holds something else, such as (sr-x2|metrics).*: name a folder of its"
        ):
            app(["report", "--out", "report.md", option, folder], standalone_mode=False)
    assert {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()} == before
    assert not Path("report.md").exists()


@pytest.mark.parametrize("plots", ["out", "out/plots", "."])
def test_the_two_folders_are_two(small_project: Any, monkeypatch: pytest.MonkeyPatch, plots: str) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=rf"^--metrics out and --plots {plots} need two folders apart: name another"):
        app(["report", "--metrics", "out", "--plots", plots], standalone_mode=False)


def test_a_link_to_a_folder_is_one(small_project: Any, tmp_path: Path) -> None:
    small_project.add_model("sr-x2")
    small_project.add_metrics("sr-x2")
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far")
    for _ in range(2):
        write_metrics(small_project.params, tmp_path / "near")
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["sr-x2.json"]
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(UserError, match=r"nowhere can't be written \(File exists\): make room there"):
        write_metrics(small_project.params, tmp_path / "nowhere")


def test_a_damaged_curve_is_one_sentence(small_project: Any, tmp_path: Path) -> None:
    table = small_project.root / "curves" / "sr-x2" / "plots" / "metrics" / "loss.tsv"
    table.parent.mkdir(parents=True)
    table.write_bytes(b"step\tloss\n1\t\xff\n2\t0.5\n")
    with pytest.raises(UserError, match=r"loss\.tsv can't be read \(it is not UTF-8\): take it out, or train sr-x2"):
        write_plots(small_project.params, tmp_path / "plots")
    assert read_curves(table.parent) == {"loss": [(2.0, 0.5)]}
