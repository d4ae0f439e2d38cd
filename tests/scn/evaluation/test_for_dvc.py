"""The folders that `dvc metrics` and `dvc plots` read."""

import json
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.evaluation.for_dvc import write_metrics, write_plots


def test_metrics_are_figures_alone_of_what_was_measured(small_project: Any, tmp_path: Path) -> None:
    for name in ("dn-s25", "sr-x2"):
        small_project.add_model(name)
        small_project.add_metrics(name, psnr=20.0)
    folder = tmp_path / "metrics"
    assert write_metrics(small_project.params, folder) == [folder / "sr-x2.json", folder / "dn-s25.json"]
    (small_project.root / "evaluations/sr-x2/ensemble.json").unlink()
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


def test_a_folder_of_the_users_own_is_left_alone(small_project: Any, tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "photo.jpg").write_bytes(b"dear")
    for write in (write_metrics, write_plots):
        with pytest.raises(UserError, match=r"mine holds other files, such as photo\.jpg: name a folder of its own\.$"):
            write(small_project.params, tmp_path / "mine")
    assert (tmp_path / "mine" / "sub" / "photo.jpg").read_bytes() == b"dear"


def test_a_folder_that_can_not_be_written_is_one_sentence(small_project: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file can't be written \(File exists\): make room there"):
        write_metrics(small_project.params, tmp_path / "file")
