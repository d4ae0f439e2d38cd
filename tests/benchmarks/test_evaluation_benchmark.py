"""The benchmark of evaluation measures what it says, at the smallest size."""

import json
from pathlib import Path

import pytest

from benchmarks import evaluation


def test_rows_and_their_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SIZES", [(40, 48), (33, 40)])
    monkeypatch.setattr(evaluation, "PAPER", {**evaluation.PAPER, "blocks": 1, "units": 4, "scales": 2})
    peaks = {"4": 100.0, "32": 104.0}
    monkeypatch.setattr(evaluation, "peak_of_command", lambda module, option, count: peaks[count])
    evaluation.main(["--runs", "1", "--json", str(tmp_path / "result.json")])
    rows = {row["part"]: row for row in json.loads((tmp_path / "result.json").read_text())["rows"]}
    assert rows["evaluation of 2 images"]["ratio"] > 1
    assert rows["memory for 32 images, MiB"]["ratio"] == pytest.approx(1.04)
    for metric in ("psnr", "ssim"):
        assert rows[f"metric {metric}, 512x512"]["largest_difference"] < 1e-6
    assert {"self-ensemble, 96x96", "self-ensemble, 256x256"} < rows.keys()


def test_images_of_ones_own(tmp_path: Path) -> None:
    evaluation.write_images(tmp_path / "mine", [(40, 48)])
    params, model = evaluation.project(tmp_path, blocks=1, units=4, scales=2)
    measurement = evaluation.evaluate(params, tmp_path / "mine", model)
    assert [(row.name, row.height, row.width) for row in measurement.images] == [("00.png", 40, 48)]
    (row,) = evaluation.evaluation_rows(params, tmp_path / "mine", model, 1)
    assert row["part"] == "evaluation of 1 images"
