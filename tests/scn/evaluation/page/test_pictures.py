"""The pictures of the report: where crops stand, and how many bytes they take."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from finished_runs import finish
from PIL import Image

from scn.core.errors import UserError
from scn.evaluation.page.pictures import CROP, difference_map, jpeg, pictures, place_of
from scn.evaluation.runs import Run, read_runs


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return read_runs(finish(tmp_path, {"sr-x2": ("sr", 2), "dn-s25": ("dn", 25)}, side=160))


def decoded(uri: str) -> Image.Image:
    head, data = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_crops_stand_where_the_errors_differ_most_or_where_the_model_fails() -> None:
    truth = np.full((200, 300), 128, np.uint8)
    before, after = truth.copy(), truth.copy()
    before[10:20, 10:20] += 50
    after[10:20, 10:20] += 50  # both are wrong here
    before[150:160, 230:240] += 40  # here only one
    left, top, width, height = place = place_of(truth, before, after, gains_most=True)
    assert (width, height) == (CROP, CROP)
    assert left <= 230
    assert left + CROP >= 240
    assert top <= 150
    assert top + CROP >= 160
    assert place_of(truth, after, before, gains_most=True) == place
    left, top, *_ = place_of(truth, before, after, gains_most=False)
    assert (left <= 10, top <= 10) == (True, True)
    small = [image[:50, :60] for image in (truth, before, after)]
    assert place_of(*small, gains_most=True)[2:] == (60, 50)


def test_a_difference_is_amplified_by_a_factor_that_is_told() -> None:
    truth = np.full((64, 64, 3), 100, np.uint8)
    after = truth + np.array([6, 6, 6], np.uint8)
    shown, factor = difference_map(truth, after)
    assert factor == 32
    assert (shown == 6 * 32).all()
    _, factor = difference_map(truth, truth + np.uint8(100))
    assert factor == 2
    assert (difference_map(truth, truth)[0] == 0).all()


def test_an_image_has_crops_two_layers_and_a_map(tmp_path: Path, runs: list[Run]) -> None:
    found = pictures(tmp_path, runs)
    assert found.keys() == {(run.name, name) for run in runs for name in ("Set5", "sample/evaluation")}
    first, last = found["dn-s25", "Set5"]
    assert [first.name, first.gains_most, last.name, last.gains_most] == ["image 0.png", True, "image 2.png", False]
    row = runs[1].evaluation.sets["Set5"].images[0].figures["dn-grey-v1"]
    assert first.gain == row["model"].psnr - row["input"].psnr
    assert [crop.picture for crop in first.crops] == ["truth", "input", "model", "ensemble"]
    assert [crop.psnr for crop in first.crops] == [
        None,
        *(row[method].psnr for method in ("input", "model", "ensemble")),
    ]
    assert [decoded(crop.uri).size for crop in first.crops] == [(CROP, CROP)] * 4
    for uri in (first.before, first.after):
        assert decoded(uri).size == (176, 160)
        assert decoded(uri).mode == "L"
    assert decoded(found["sr-x2", "Set5"][0].before).mode == "RGB"
    # The layers are what they are called: the degraded one is farther from the original.
    truth = np.asarray(Image.open(tmp_path / "evaluations/dn-s25/pictures/Set5/image 0.png/truth.png"), float)
    errors = [np.abs(np.asarray(decoded(uri), float) - truth).mean() for uri in (first.before, first.after)]
    assert errors[0] > 1.5 * errors[1]


@pytest.mark.parametrize(("budget", "images"), [(1_000_000, 8), (250_000, 8), (120_000, 4), (20_000, 0)])
def test_a_budget_is_kept(tmp_path: Path, runs: list[Run], budget: int, images: int) -> None:
    """Pictures are made smaller first, and left out where even the smallest are too large."""
    shown = [image for found in pictures(tmp_path, runs, budget).values() for image in found]
    assert budget / 2 * bool(images) <= sum(image.bytes for image in shown) <= budget
    assert len(shown) == images


def test_large_pictures_are_made_smaller() -> None:
    assert decoded(jpeg(np.zeros((300, 600, 3), np.uint8), 80, 200)).size == (200, 100)
    assert decoded(jpeg(np.zeros((30, 60), np.uint8), 80, 200)).size == (60, 30)


def test_without_pictures_there_are_none_and_a_broken_one_is_told(tmp_path: Path, runs: list[Run]) -> None:
    picture = tmp_path / "evaluations/sr-x2/pictures/Set5/image 0.png/input.png"
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(
        UserError, match=r"input\.png can't be read as a picture \(.*\): run `dvc repro --force evaluate@sr-x2`"
    ):
        pictures(tmp_path, runs)
    picture.unlink()
    assert [image.name for image in pictures(tmp_path, runs)["sr-x2", "Set5"]] == ["image 2.png"]
