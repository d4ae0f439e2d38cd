"""Any model on any images: `scn evaluate --images ... --method ...`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scn.cli import app
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.compare import Measurement, Options, compare
from scn.evaluation.photographs import open_photographs
from scn.evaluation.protocols import measure, protocol
from scn.evaluation.results import result_file
from scn.evaluation.runner import ensemble_stage, evaluate_stage
from scn.imaging.degradation import bicubic_downscale, bicubic_resize, bicubic_upscale, evaluation_noise, to_uint8
from scn.inference.handle import Model
from scn.registry.reference import load


@pytest.fixture
def folder(tmp_path: Path, photograph: Callable[..., Any]) -> Path:
    """Two colour photographs, one of them in a sub-folder and of odd size."""
    path = tmp_path / "photographs"
    (path / "sub").mkdir(parents=True)
    Image.fromarray(photograph(40, 48)).save(path / "a.png")
    Image.fromarray(photograph(45, 51)).save(path / "sub" / "b.png")
    return path


def measured(project: Any, name: str, sets: list[str], methods: list[str], **options: Any) -> list[Measurement]:
    inputs = options.pop("inputs", None)
    found = compare(
        project.params,
        experiments=[name],
        sets=sets,
        methods=methods,
        load=lambda reference: load(reference, "cpu", params_file=project.params.path),
        inputs=inputs,
        options=Options(**options),
    )
    return list(found)


def test_bicubic_on_a_folder_by_hand(small_project: Any, folder: Path) -> None:
    (result,) = measured(small_project, "sr-x2", [str(folder)], ["bicubic"])
    assert (result.protocol, result.method, result.self_ensemble) == ("sr-y-v1", "bicubic", False)
    assert [(row.name, row.height, row.width) for row in result.images] == [("a.png", 40, 48), ("sub/b.png", 44, 50)]
    for rule, under in ((protocol("sr-y-v1"), result), (protocol("sr-rgb-v1"), result.further[0])):
        psnr = []
        for row in under.images:
            hr = np.asarray(Image.open(folder / row.name))[: row.height, : row.width]
            expected = measure(bicubic_upscale(bicubic_downscale(hr, 2), 2), hr, rule, 2)
            assert row.psnr == pytest.approx(expected.psnr, abs=6e-5)
            assert row.ssim == pytest.approx(expected.ssim, abs=6e-5)
            psnr.append(row.psnr)
        assert (under.protocol, under.mean.psnr) == (rule.name, pytest.approx(np.mean(psnr), abs=6e-5))
    assert result.notes == ["1 of 2 images is cropped to multiples of 2 pixels."]
    assert result.provenance.code_sha256 == evaluation_code(None, of_files=True)
    assert (result.provenance.weights_sha256, result.precision) == (None, None)


@pytest.mark.parametrize("name", ["sr-x2", "car-q10", "dn-s25"])
def test_the_stages_measure_the_same(small_project: Any, photograph: Callable[..., Any], name: str) -> None:
    images = {"a.png": photograph(40, 48), "b.png": photograph(32, 36)}
    if name != "sr-x2":  # the shards hold the one channel that the task is measured in
        images = {key: image[..., 0].copy() for key, image in images.items()}
    small_project.add_shards(name, images)
    model = small_project.add_model(name)
    evaluate_stage(small_project.params, name)
    ensemble_stage(small_project.params, name)
    stage = json.loads(result_file(small_project.root, name, "ensemble").read_text())
    folder = small_project.root / "files"
    folder.mkdir()
    for key, image in images.items():
        Image.fromarray(image).save(folder / key)
    found = {
        method: measured(small_project, name, [str(folder)], [reference], self_ensemble=method == "ensemble")[0]
        for method, reference in (("input", "input"), ("model", str(model)), ("ensemble", str(model)))
    }
    mean = stage["sets"]["sample/evaluation"]["mean"]
    for method, result in found.items():
        assert result.mean.model_dump(exclude_none=True) == mean[result.protocol][method]
    assert [each.provenance.code_sha256 for each in found.values()][1:] == [evaluation_code("scn", of_files=True)] * 2
    assert found["model"].provenance.weights_sha256 == file_sha256(model / "model.safetensors")
    assert found["model"].precision == "float32"


def test_noise_is_measured_in_grey_and_in_colour(small_project: Any, folder: Path, photograph: Any) -> None:
    (result,) = measured(small_project, "dn-s25", [str(folder)], ["input"])
    assert [result.protocol, *(under.protocol for under in result.further)] == ["dn-grey-v1", "dn-rgb-v1"]
    hr = np.asarray(Image.open(folder / "a.png"))
    seen = to_uint8((hr + evaluation_noise("a.png", hr.shape, 25)) / 255)
    assert result.further[0].images[0].psnr == pytest.approx(measure(seen, hr, protocol("dn-rgb-v1"), 1).psnr, abs=6e-5)
    Image.fromarray(photograph(20, 20, 1)[..., 0]).save(folder / "grey.png")
    (result,) = measured(small_project, "dn-s25", [str(folder)], ["input"])
    assert result.further == []
    assert result.notes == [
        "1 of 3 images is grey and measured at full range.",
        "dn-rgb-v1 needs colour in all images, and is left out.",
    ]


def test_a_colour_photograph_is_saved_as_it_was_measured(small_project: Any, folder: Path, tmp_path: Path) -> None:
    small_project.add_model("dn-s25")
    model = str(small_project.root / "models" / "dn-s25")
    (result,) = measured(small_project, "dn-s25", [str(folder)], [model], save=tmp_path / "out")
    for kind, under in (("grey", result), ("rgb", result.further[0])):
        hr = np.asarray(Image.open(folder / "sub" / "b.png"))
        restored = np.asarray(Image.open(tmp_path / "out" / kind / "sub" / "b.png"))
        if kind == "rgb":
            figure = measure(restored, hr, protocol("dn-rgb-v1"), 1).psnr
            assert under.images[1].psnr == pytest.approx(figure, abs=6e-5)
        assert restored.shape == (hr.shape if kind == "rgb" else hr.shape[:2])


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
    assert result.notes == ["sr-rgb-v1 needs 27x27 pixels or more of all images, and is left out."]
    (tmp_path / "grey").mkdir()
    Image.fromarray(photograph(20, 20, 1)[..., 0]).save(tmp_path / "grey" / "a.png")
    (result,) = measured(small_project, "dn-s25", [str(tmp_path / "grey")], ["input"])
    assert result.notes == [
        "1 of 1 images is grey and measured at full range.",
        "dn-rgb-v1 needs colour in all images, and is left out.",
    ]


def test_scales_other_than_in_training(small_project: Any, folder: Path) -> None:
    small_project.add_model("dn-s25")
    model = str(small_project.root / "models" / "dn-s25")
    (trained,) = measured(small_project, "dn-s25", [str(folder)], [model])
    sweep = measured(small_project, "dn-s25", [str(folder)], [model], scales=[1, 2, 3], ratios=[0.5])
    assert [each.title.removeprefix(model) for each in sweep] == [f", {n} scales, ratio 0.5" for n in (1, 2, 3)]
    assert sweep[1].mean == trained.mean  # it was trained with two
    assert len({each.mean.psnr for each in sweep}) == 3


def test_tiles(small_project: Any, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    small_project.add_model("sr-x2")
    model = str(small_project.root / "models" / "sr-x2")
    (tmp_path / "wide").mkdir()
    Image.fromarray(photograph(60, 400)).save(tmp_path / "wide" / "a.png")
    whole, tiled = (measured(small_project, "sr-x2", [str(tmp_path / "wide")], [model], tile=t)[0] for t in (None, 70))
    assert tiled.tile == 70
    assert tiled.mean.psnr == pytest.approx(whole.mean.psnr, abs=0.005)


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


def test_a_model_of_another_level_is_measured_and_told(small_project: Any, folder: Path) -> None:
    text = (small_project.root / "params.yaml").read_text()
    (small_project.root / "params.yaml").write_text(f"{text}  dn-s15: {{task: dn, level: 15}}\n")
    small_project.add_model("dn-s15")
    model = str(small_project.root / "models" / "dn-s15")
    (result,) = measured(small_project, "dn-s25", [str(folder)], [model])
    assert result.notes == [f"{model} was trained for sigma 15, not 25."]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dn-s25", ["bicubic"], {}), "^--method: bicubic enlarges, which dn-s25 does not: measure input or a model"),
        (("dn-s25", ["models/sr-x2"], {}), "^--method: models/sr-x2 is for super-resolution x2, not for dn-s25: name"),
        (("sr-x2", ["models/sr-x2"], {"tile": 64}), "^--tile: 64 is too small: give more than 64 pixels"),
        (("dn-s25", ["input"], {"inputs": "photographs"}), "^--inputs: the noise of dn-s25 is made when an image is"),
        (("sr-x2", ["input"], {"inputs": "photographs"}), r"a\.png is 48x40 RGB, but .*a\.png needs 24x20 RGB: give"),
        (("sr-x2", ["input"], {"self_ensemble": True}), "^--self-ensemble: input has no network: leave the option out"),
        (("sr-x2", ["bicubic"], {"scales": [3]}), "^--scales: bicubic has no network: leave the option out, or name"),
        (("dn-s25", ["nothing"], {}), "'?nothing'? is"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    small_project: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, message: str
) -> None:
    name, methods, options = arguments
    small_project.add_model("sr-x2")
    monkeypatch.chdir(small_project.root)
    folder.rename(small_project.root / "photographs")
    with pytest.raises(UserError, match=message):
        measured(small_project, name, ["photographs"], methods, **options)


def test_all_images_that_can_not_be_used_are_told_at_once(small_project: Any, folder: Path, photograph: Any) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("")
    Image.fromarray(photograph(40, 14)).save(folder / "tiny.png")
    with pytest.raises(UserError) as told:
        measured(small_project, "sr-x2", [str(folder)], ["input"])
    first, second = str(told.value).splitlines()
    assert "broken.png is no image, whatever its name says" in first
    assert "tiny.png is 14x40 pixels, but sr-x2 is measured on at least 15x15: take it out." in second
    for i in range(12):
        Image.fromarray(photograph(40, 14)).save(folder / f"{i}.png")
    with pytest.raises(UserError, match=r"\n\.\.\. and 4 more\.$"):
        measured(small_project, "sr-x2", [str(folder)], ["input"])


def test_a_matrix_loads_each_model_once_and_passes_over_what_does_not_fit(
    small_project: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("sr-x2", "dn-s25"):
        small_project.add_model(name)
    monkeypatch.chdir(small_project.root)
    loaded = []
    before = Model.__init__

    def init(self: Model, path: Path, *arguments: Any, **options: Any) -> None:
        loaded.append(path.name)
        before(self, path, *arguments, **options)

    monkeypatch.setattr(Model, "__init__", init)
    command = ["evaluate", "-e", "sr-x2", "-e", "dn-s25", "--images", str(folder), "--images", str(folder / "sub")]
    for method in ("input", "bicubic", "models/sr-x2", "models/dn-s25"):
        command += ["--method", method]
    with pytest.raises(
        UserError, match=r"^--experiment is given 2 times: add --matrix to measure every combination\.$"
    ):
        app(command, standalone_mode=False)
    app([*command, "--matrix", "--json", str(tmp_path / "all.json")], standalone_mode=False)
    assert loaded == ["sr-x2", "dn-s25"]
    found = json.loads((tmp_path / "all.json").read_text())
    assert [(each["method"], each["experiment"]) for each in found[::2]] == [
        ("input", "sr-x2"),
        ("input", "dn-s25"),
        ("bicubic", "sr-x2"),
        ("models/sr-x2", "sr-x2"),
        ("models/dn-s25", "dn-s25"),
    ]
    assert [len(each["images"]) for each in found] == [2, 1] * 5
    table = capsys.readouterr().out
    assert table.count("sr-rgb-v1") == 6
    assert f"{found[0]['mean']['psnr']:.2f}" in table
    command = ["evaluate", "-e", "dn-s25", "--matrix", "--images", str(folder)]
    with pytest.raises(UserError, match="None of bicubic, models/sr-x2 is for dn-s25: name a model of its task"):
        app([*command, "--method", "bicubic", "--method", "models/sr-x2"], standalone_mode=False)


def test_one_measurement_is_one_object_with_the_trained_model_by_default(
    small_project: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.add_model("sr-x2")
    monkeypatch.chdir(small_project.root)
    app(
        ["evaluate", "-e", "sr-x2", "--images", str(folder), "--json", str(tmp_path / "one.json")],
        standalone_mode=False,
    )
    found = json.loads((tmp_path / "one.json").read_text())
    assert Path(found["method"]).name == "sr-x2"
    assert {"protocol", "mean", "images", "provenance", "further"} <= found.keys()
    assert set(found["provenance"]) == {"data_sha256", "weights_sha256", "code_sha256"}


@pytest.mark.parametrize("text", ["3,x", "0", "-1", "2;3"])
def test_lists_of_numbers_are_checked(small_project: Any, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=rf"^--scales: '{text}' is no list of numbers above 0: write it as 3,6,9\.$"):
        app(["evaluate", "-e", "dn-s25", "--scales", text], standalone_mode=False)


def test_a_model_with_weights_for_each_scale_has_no_sweep(small_project: Any, folder: Path) -> None:
    text = (small_project.root / "params.yaml").read_text()
    (small_project.root / "params.yaml").write_text(text.replace("scales: 2", "scales: 2\n  shared: false"))
    small_project.add_model("dn-s25")
    model = str(small_project.root / "models" / "dn-s25")
    with pytest.raises(UserError, match="has weights of its own for each scale"):
        measured(small_project, "dn-s25", [str(folder)], [model], scales=[3])


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


def test_pictures_of_a_sweep_lie_apart(small_project: Any, folder: Path, tmp_path: Path) -> None:
    small_project.add_model("sr-x2")
    model = str(small_project.root / "models" / "sr-x2")
    measured(small_project, "sr-x2", [str(folder)], [model], scales=[1, 2], save=tmp_path / "out")
    one, two = ((tmp_path / "out" / f"scales-{n}" / "a.png").read_bytes() for n in (1, 2))
    assert one != two


@pytest.mark.parametrize("option", ["images", "inputs", "save"])
def test_an_empty_name_is_no_folder(small_project: Any, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=f"^--{option} is empty: name a folder"):
        app(["evaluate", "-e", "sr-x2", "--method", "input", f"--{option}", ""], standalone_mode=False)


def test_an_empty_list_is_no_reason_to_run_the_stage(small_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project.root)
    with pytest.raises(UserError, match=r"^--scales: '' is no list of numbers above 0: write it as 3,6,9\.$"):
        app(["evaluate", "-e", "dn-s25", "--scales", ""], standalone_mode=False)


def test_all_is_loaded_before_anything_is_measured(
    small_project: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_project.root)
    monkeypatch.setattr("scn.evaluation.compare.measure_samples", lambda *_, **__: pytest.fail("it was measured"))
    with pytest.raises(UserError, match="nothing"):
        measured(small_project, "sr-x2", [str(folder)], ["bicubic", "nothing"])
    command = ["evaluate", "-e", "sr-x2", "--images", str(folder), "--method", "bicubic", "--json"]
    with pytest.raises(UserError, match=r"^--json: .*project is a folder: name a file\.$"):
        app([*command, str(small_project.root)], standalone_mode=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"^--json: .*x\.json can't be written \(.*\): name a file elsewhere\.$"):
        app([*command, str(tmp_path / "file" / "x.json")], standalone_mode=False)


def test_what_was_measured_before_a_mistake_is_told(
    small_project: Any,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    photograph: Any,
) -> None:
    monkeypatch.chdir(small_project.root)
    (tmp_path / "damaged").mkdir()
    path = tmp_path / "damaged" / "c.png"
    Image.fromarray(photograph(60, 60)).save(path)
    path.write_bytes(path.read_bytes()[:-3000])  # its header is whole
    command = ["evaluate", "-e", "sr-x2", "--matrix", "--method", "input"]
    with pytest.raises(UserError, match=r"c\.png"):
        app([*command, "--images", str(folder), "--images", str(path.parent)], standalone_mode=False)
    assert "sr-y-v1" in capsys.readouterr().out


def test_names_are_no_markup(
    small_project: Any, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder.rename(folder.with_name("[b]"))
    monkeypatch.chdir(folder.parent)
    params = str(small_project.root / "params.yaml")
    app(
        ["evaluate", "-e", "sr-x2", "--images", "[b]", "--method", "bicubic", "--params", params],
        standalone_mode=False,
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "sr-y-v1" in line]
    assert rows[0][:4] == ["sr-x2", "[b]", "2", "bicubic"]
