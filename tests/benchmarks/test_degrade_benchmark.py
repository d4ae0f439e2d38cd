"""The benchmark of degradations, at a tiny size, measures what it says; no test depends on a time."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import degrade
from scn.imaging.degradation import bicubic_downscale


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_ours_is_compared_with_is_imresize(scale: int) -> None:
    pixels = degrade.image(48, 36)
    np.testing.assert_array_equal(degrade.numpy_imresize(pixels, 1 / scale), bicubic_downscale(pixels, scale))


def test_the_image_is_the_same_every_time() -> None:
    first = degrade.image(24, 36)
    np.testing.assert_array_equal(first, degrade.image(24, 36))
    assert first.shape == (24, 36, 3)
    assert first.std() > 20


def test_a_run_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(degrade, "SIZE", (48, 36))
    monkeypatch.setattr(degrade, "SCALES", (2, 6))
    degrade.main(["--json", str(tmp_path / "result.json"), "--runs", "2"])

    written = json.loads((tmp_path / "result.json").read_text())
    rows = written["rows"]
    assert written["title"] == degrade.TITLE
    assert [(row["scale"], row["resize"].split(",")[0]) for row in rows] == [
        *[("1/2", name) for name in ("bare", "exact", "bare", "exact", "NumPy")],
        *[("1/6", name) for name in ("bare", "bare", "exact", "NumPy")],  # at 6 there is no fixed point
    ]
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
    for row in rows:
        assert row["median_ms"] > 0
        assert row["spread"] >= 0
        assert row["faster_than_numpy"] > 0
    by_name = {row["resize"]: row for row in rows[:5]}
    for kind in ("image to image", "array to array"):
        assert by_name[f"bare, {kind}"]["over_bare"] == 1
        assert by_name[f"bare, {kind}"]["differing_percent"] > 0
        assert by_name[f"exact, {kind}"]["differing_percent"] == 0
    assert by_name["bare, image to image"]["over_bare_image"] == 1
    assert by_name["NumPy, array to array"]["over_bare"] is None
    assert by_name["NumPy, array to array"]["faster_than_numpy"] == 1
