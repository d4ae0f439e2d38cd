"""The benchmark of the feeds, at a tiny size, measures what it says; no test depends on a time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import feeding, model

TINY = {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2, "scale": 2}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SIZE": (120, 150), "PATCH": 12, "BATCH": 4, "PATCHES_PER_IMAGE": 8, "FILE_BATCHES": 2, "WORKERS": 0}
    for name, value in {**sizes, "RESIDENT_BATCHES": 3}.items():
        monkeypatch.setattr(feeding, name, value)
    for name, value in {"BATCH": 2, "PATCH": 12, "ARCHITECTURE": TINY}.items():
        monkeypatch.setattr(model, name, value)


@pytest.mark.usefixtures("small")
def test_the_conventional_way_cuts_pairs_of_one_place(tmp_path: Path) -> None:
    y, x = np.mgrid[0:60, 0:75]
    lr = np.stack([y, x, y], axis=-1).astype(np.uint8)
    for name, image in (("photographs", lr.repeat(2, 0).repeat(2, 1)), ("degraded", lr)):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "0.png")
    data = feeding.PngPairs(tmp_path / "photographs", tmp_path / "degraded")
    drawn = [data[0] for _ in range(60)]
    for degraded, target in drawn:
        assert degraded.shape == (3, 12, 12)
        assert torch.equal(target[:, ::2, ::2], degraded)
    corners = {(float(d[0, 0, 1] - d[0, 0, 0]) * 255, float(d[0, 1, 0] - d[0, 0, 0]) * 255) for d, _ in drawn}
    assert {tuple(map(round, corner)) for corner in corners} == {(0, 1), (0, -1), (1, 0), (-1, 0)}


@pytest.mark.usefixtures("small")
def test_a_run_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    feeding.main(["--json", str(tmp_path / "result.json"), "--runs", "2", "--images", "3"])

    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [row["patches from"] for row in rows] == [feeding.CONVENTIONAL, "resident", "stream"]
    assert rows[0]["times_as_fast"] == 1
    assert [row["patches_per_image"] for row in rows] == [None, None, 8]
    assert [row["start_s"] is None for row in rows] == [True, False, True]
    for row in rows:
        assert row["patches_per_s"] == pytest.approx(4 / (row["batch_ms"] / 1e3))
        assert row["share_of_step_%"] == pytest.approx(100 * row["batch_ms"] / (row["batch_ms"] + row["step_ms"]))
        assert row["images"] == 3
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
