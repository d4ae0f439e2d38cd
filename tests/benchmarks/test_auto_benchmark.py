"""The study of the blind choice counts what it says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import auto
from scn.core.errors import UserError
from scn.imaging.image_io import Photograph
from scn.imaging.tasks import TASKS
from scn.inference.restore import Options


def model(task: str, level: int, restored: Callable[[Any], Any]) -> Any:
    def mixed(photograph: Photograph, options: Options) -> Photograph:
        pixels = photograph.pixels[..., 0].astype(float)
        pixels += options.strength * (restored(photograph.pixels[..., 0]) - pixels)
        return replace(photograph, pixels=np.rint(pixels).astype(np.uint8)[..., None])

    return SimpleNamespace(task=TASKS[task], level=level, restore=restored, restore_photograph=mixed)


def test_a_choice_is_compared_with_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "CONDITIONS", (("noise", 0), ("noise", 25), ("jpeg", 10)))
    y, x = np.mgrid[:64, :64]
    clean = (128 + 60 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)
    models = {
        "dn-s25": model("dn", 25, lambda pixels: pixels),  # changes nothing
        "dn-s50": model("dn", 50, lambda pixels: clean),  # knows the answer
        "car-q10": model("car", 10, lambda pixels: clean),
    }
    found = {row["degradation"]: row for row in auto.rows([clean, clean], models)}
    assert (found["noise 0"]["taken"], found["noise 0"]["right"]) == ("nothing 2", "2 of 2")
    assert (found["noise 25"]["taken"], found["noise 25"]["right"]) == ("dn-s25 2", "0 of 2")
    assert found["noise 25"]["gain_db"] == found["noise 25"]["worst_db"] == 0
    assert float(str(found["noise 25"]["best_db"])) > 50
    assert (found["jpeg 10"]["taken"], found["jpeg 10"]["right"]) == ("car-q10 2", "2 of 2")
    assert float(str(found["jpeg 10"]["gain_db"])) == found["jpeg 10"]["best_db"]


def test_what_is_taken_at_less_than_full_strength_is_measured_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "CONDITIONS", (("noise", 10),))
    flat = np.full((64, 64), 128, np.uint8)
    (row,) = auto.rows([flat], {"dn-s20": model("dn", 20, lambda pixels: flat)})
    assert (row["taken"], row["strength"]) == ("dn-s20 1", pytest.approx(0.625, abs=0.03))
    assert row["gain_db"] == pytest.approx(-20 * np.log10(1 - 0.625), abs=1)  # of the noise that stays
    assert float(str(row["best_db"])) > 50


def test_images_are_taken_from_the_whole_folder(tmp_path: Path) -> None:
    for number in range(7):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    assert [int(image[0, 0]) for image in auto.read(tmp_path, 4, 8)] == [0, 1, 3, 5]


def test_the_command_reads_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        Image.new("RGB", (40, 30 + number)).save(tmp_path / f"{number}.png")
    assert [image.shape for image in auto.read(tmp_path, 3, 32)] == [(30, 32), (31, 32), (32, 32)]
    with pytest.raises(UserError, match=r"holds 3 images, not 4: ask for fewer"):
        auto.read(tmp_path, 4, 32)
    monkeypatch.setattr(auto.zoo, "names", lambda: [])
    monkeypatch.setattr(auto, "CONDITIONS", (("noise", 0),))
    auto.main([str(tmp_path), "--images", "2", "--side", "32", "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text())["rows"][0]["best"] == "nothing"
