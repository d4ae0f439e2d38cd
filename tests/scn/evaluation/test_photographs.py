"""The images of `scn evaluate`: what fits, what belongs together, and what is told of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_sets import measured
from PIL import Image

from scn.core.errors import UserError
from scn.evaluation.photographs import open_photographs
from scn.evaluation.protocols import measure, protocol
from scn.imaging.degradation import bicubic_downscale, bicubic_resize


def test_published_inputs_are_taken_as_they_are(small_project: Any, folder: Path, tmp_path: Path) -> None:
    lr = {}
    (tmp_path / "lr").mkdir()
    for name, file in (("a.png", "aX2.png"), ("sub/b.png", "b_LRBI_x2.png")):
        hr = np.asarray(Image.open(folder / name))
        lr[name] = bicubic_downscale(hr[: len(hr) // 2 * 2, : hr.shape[1] // 2 * 2], 2) ^ 1  # other pixels than ours
        Image.fromarray(lr[name]).save(tmp_path / "lr" / file)
    (result,) = measured(small_project, "sr-x2", [str(folder)], ["input"], inputs=str(tmp_path / "lr"))
    (ours,) = measured(small_project, "sr-x2", [str(folder)], ["input"])
    hr = np.asarray(Image.open(folder / "a.png"))
    figure = measure(bicubic_resize(lr["a.png"], 2), hr, protocol("sr-y-v1"), 2).psnr
    assert result.images[0].psnr == pytest.approx(figure, abs=6e-5)
    assert result.mean.psnr != ours.mean.psnr
    assert result.provenance.inputs_sha256
    assert ours.provenance.inputs_sha256 is None


@pytest.mark.parametrize(
    ("image", "degraded", "found"),
    [
        ("baby.png", "baby.png", True),
        ("baby_GT.png", "baby_LRBI_x2.png", True),
        ("0801.png", "0801x2.png", True),
        ("img_001_SRF_2_HR.png", "img_001_SRF_2_LR.png", True),
        ("0802.png", "080.png", False),
        ("baby.png", "bird.png", False),
        ("img-x2.png", "img.png", True),
        ("img_LR_2.png", "img.png", True),
        ("img_2.png", "img_LR.png", False),  # the second image, not the first one's
        ("img.png", "img_2.png", False),
        ("uhr.png", "u.png", False),
    ],
)
def test_names_that_belong_together(
    small_project: Any, tmp_path: Path, photograph: Any, image: str, degraded: str, found: bool
) -> None:
    for where, name, pixels in (("hr", image, photograph(40, 40)), ("lr", degraded, photograph(20, 20))):
        (tmp_path / where).mkdir()
        Image.fromarray(pixels).save(tmp_path / where / name)
    asked = (small_project.params, small_project.params.experiment("sr-x2"), str(tmp_path / "hr"), str(tmp_path / "lr"))
    if found:
        assert open_photographs(*asked).inputs
    else:
        with pytest.raises(UserError, match=rf"^--inputs has no file for {image} \(x2\): put one of its name there\.$"):
            open_photographs(*asked)


def test_files_of_inputs_that_belong_to_nothing_are_told(small_project: Any, tmp_path: Path, photograph: Any) -> None:
    for folder, name in (("hr", "img_1.png"), ("lr", "img_1.png"), ("lr", "img_2.png"), ("lr", "img_LR.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        side = 40 if folder == "hr" else 20
        Image.fromarray(photograph(side, side)).save(tmp_path / folder / name)
    images, inputs = str(tmp_path / "hr"), str(tmp_path / "lr")
    (result,) = measured(small_project, "sr-x2", [images], ["input"], inputs=inputs)
    assert result.notes == ["2 files belong to no image, of 3 of --inputs, and are passed over."]
    (tmp_path / "lr" / "img_2.png").unlink()
    (result,) = measured(small_project, "sr-x2", [images], ["input"], inputs=inputs)
    assert result.notes == ["1 file belongs to no image, of 2 of --inputs, and is passed over."]


def test_every_protocol_that_is_left_out_is_told(small_project: Any, tmp_path: Path, photograph: Any) -> None:
    (tmp_path / "small").mkdir()
    Image.fromarray(photograph(40, 40)).save(tmp_path / "small" / "a.png")
    Image.fromarray(photograph(20, 40)).save(tmp_path / "small" / "b.png")
    (result,) = measured(small_project, "sr-x2", [str(tmp_path / "small")], ["input"])
    assert [result.protocol, *result.further] == ["sr-y-v1"]
    assert result.notes == ["sr-rgb-v1 needs 28x28 pixels or more of all images, and is left out."]
    (tmp_path / "grey").mkdir()
    Image.fromarray(photograph(20, 20, 1)[..., 0]).save(tmp_path / "grey" / "a.png")
    (result,) = measured(small_project, "dn-s25", [str(tmp_path / "grey")], ["input"])
    assert result.notes == [
        "1 of 1 images is grey and measured at full range.",
        "dn-rgb-v1 needs colour in all images, and is left out.",
    ]


def test_a_grey_palette_is_as_grey_as_any(small_project: Any, folder: Path, tmp_path: Path, photograph: Any) -> None:
    """Of a palette in colour nothing is told."""
    (tmp_path / "grey").mkdir()
    grey, path = Image.fromarray(photograph(40, 48, 1)[..., 0]), tmp_path / "grey" / "a.png"
    found = []
    for mode in ("L", "P"):
        grey.convert(mode).save(path)
        with Image.open(path) as image:
            assert image.mode == mode
        found.append([measured(small_project, e, [str(path.parent)], ["input"])[0].notes for e in ("dn-s25", "sr-x2")])
    told = "1 of 1 images is grey and measured at full range."
    assert found == [[[told, "dn-rgb-v1 needs colour in all images, and is left out."], [told]]] * 2
    with Image.open(folder / "a.png") as image:
        image.convert("P").save(path)
    (result,) = measured(small_project, "dn-s25", [str(path.parent)], ["input"])
    assert (result.notes, [under.protocol for under in result.further]) == ([], ["dn-rgb-v1"])


def test_all_images_that_can_not_be_used_are_told_at_once(small_project: Any, folder: Path, photograph: Any) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("")
    Image.fromarray(photograph(40, 14)).save(folder / "tiny.png")
    with pytest.raises(UserError) as told:
        measured(small_project, "sr-x2", [str(folder)], ["input"])
    first, second = str(told.value).splitlines()
    assert "broken.png is no image, whatever its name says" in first
    assert "tiny.png is 14x40 pixels, but sr-x2 is measured on at least 16x16: take it out." in second
    for i in range(12):
        Image.fromarray(photograph(40, 14)).save(folder / f"{i}.png")
    with pytest.raises(UserError, match=r"\n\.\.\. and 4 more\.$"):
        measured(small_project, "sr-x2", [str(folder)], ["input"])


def test_the_size_that_is_asked_for_will_do(small_project: Any, tmp_path: Path, photograph: Any) -> None:
    """Images are cropped to even sides first."""
    asked = (small_project.params, small_project.params.experiment("sr-x2"), str(tmp_path / "hr"))
    (tmp_path / "hr").mkdir()
    Image.fromarray(photograph(15, 15)).save(tmp_path / "hr/a.png")
    with pytest.raises(
        UserError, match=r"a\.png is 15x15 pixels, but sr-x2 is measured on at least 16x16: take it out\.$"
    ):
        open_photographs(*asked)
    Image.fromarray(photograph(16, 16)).save(tmp_path / "hr/a.png")
    assert len(open_photographs(*asked)) == 1


def test_an_image_that_is_longer_than_a_jpeg_is_named(small_project: Any, tmp_path: Path) -> None:
    experiment = small_project.params.experiment("car-q10")
    for folder in ("hr", "lr"):
        (tmp_path / folder).mkdir()
        Image.new("L", (70_000, 64)).save(tmp_path / folder / "scan.png")
    with pytest.raises(UserError, match=r"scan\.png is 70000x64 pixels, and a JPEG's sides have 65500 at most: cut it"):
        open_photographs(small_project.params, experiment, str(tmp_path / "hr"))
    assert len(open_photographs(small_project.params, experiment, str(tmp_path / "hr"), str(tmp_path / "lr"))) == 1


def test_inputs_are_matched_by_their_path_first(small_project: Any, tmp_path: Path, photograph: Any) -> None:
    for name in ("x/a.png", "y/a.png"):
        hr = photograph(40, 40)
        lr = bicubic_downscale(hr, 2)
        for folder, pixels in (("hr", hr), ("lr", lr)):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / name)
    hr, lr = str(tmp_path / "hr"), str(tmp_path / "lr")
    (ours,) = measured(small_project, "sr-x2", [hr], ["input"])
    (theirs,) = measured(small_project, "sr-x2", [hr], ["input"], inputs=lr)
    assert theirs.images == ours.images
    (one,) = measured(small_project, "sr-x2", [f"{hr}/y"], ["input"], inputs=f"{lr}/y")
    assert one.mean.psnr == ours.images[1].psnr
    with pytest.raises(UserError, match=r"^--inputs has only a\.png for x/a\.png and y/a\.png: give one for each\.$"):
        measured(small_project, "sr-x2", [hr], ["input"], inputs=f"{lr}/x")
    with pytest.raises(UserError, match=r"^--inputs has 2 files for a\.png \(x2\): put one of its name there\.$"):
        measured(small_project, "sr-x2", [f"{hr}/x"], ["input"], inputs=lr)


def test_edges_are_told(small_project: Any, folder: Path) -> None:
    (mirrored,) = measured(small_project, "sr-x2", [str(folder)], ["input"])
    text = (small_project.root / "params.yaml").read_text()
    (small_project.root / "params.yaml").write_text(text.replace("data:", "data:\n  edges: replicate"))
    (repeated,) = measured(small_project, "sr-x2", [str(folder)], ["input"])
    assert (mirrored.edges, repeated.edges) == ("mirror", "replicate")
    assert repeated.mean.psnr != mirrored.mean.psnr
    assert repeated.notes[0] == "Images are reduced and enlarged by an older imresize (data.edges: replicate)."
    (noise,) = measured(small_project, "dn-s25", [str(folder)], ["input"])
    assert noise.edges is None


def test_a_set_that_was_trained_on_is_told(small_project: Any, folder: Path) -> None:
    model = small_project.add_model("dn-s25")
    config = json.loads((model / "config.json").read_text())
    params = small_project.params
    images = open_photographs(params, params.experiment("dn-s25"), str(folder)).corpus.sha256
    shutil.copytree(folder, small_project.root / "photographs" / "train")
    as_split = open_photographs(params, params.experiment("dn-s25"), "sample/train").corpus.sha256
    assert as_split != images
    for corpora, told in (
        ({"mine": images}, "mine"),  # the same images by another name
        ({"Set12": "0" * 64, f"{folder}/sub": "0" * 64}, f"{folder}/sub"),
        ({"mine/train": as_split}, "mine/train"),  # where names begin with the split
        ({"mine": as_split}, None),
        ({f"{folder}s": "0" * 64, "Set12": "0" * 64}, None),
        ({}, None),
    ):
        (model / "config.json").write_text(json.dumps({**config, "training_corpora": corpora}))
        (result,) = measured(small_project, "dn-s25", [str(folder)], [str(model)])
        sentence = f"{model} was trained on {told}: its figures on these images say nothing about others."
        assert result.notes == ([sentence] if told else [])
