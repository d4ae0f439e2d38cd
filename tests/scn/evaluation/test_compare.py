"""Any model on any images: `scn evaluate --images ... --method ...`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from measured_sets import measured
from PIL import Image
from safetensors.torch import load_file, save_file

from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import Restorer
from scn.evaluation.perceptual import perceptual_sha256
from scn.evaluation.protocols import measure, protocol
from scn.evaluation.results import result_file
from scn.evaluation.runner import ensemble_stage, evaluate_stage
from scn.imaging.degradation import bicubic_downscale, bicubic_upscale, evaluation_noise, to_uint8


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


@pytest.mark.parametrize(("name", "options"), [("sr-x2", {}), ("dn-s25", {"self_ensemble": True, "tile": 70})])
def test_values_that_are_not_finite_are_not_measured(
    small_project: Any, tmp_path: Path, photograph: Any, name: str, options: dict[str, Any]
) -> None:
    model = small_project.add_model(name)
    weights = load_file(model / "model.safetensors")
    next(weight for key, weight in weights.items() if key.endswith("bias"))[0] = torch.nan
    save_file(weights, model / "model.safetensors")
    (tmp_path / "set").mkdir()
    Image.fromarray(photograph(40, 160)).save(tmp_path / "set" / "a.png")
    told = f"^{name}: the network gives values that are not finite for a.png: train or import the model again\\.$"
    with pytest.raises(UserError, match=told):
        measured(small_project, name, [str(tmp_path / "set")], [str(model)], **options)


def test_an_image_that_memory_does_not_suffice_for_is_named(
    small_project: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(small_project.add_model("sr-x2"))

    def restore(*given: Any) -> None:
        torch.zeros(10**15)

    monkeypatch.setattr(Restorer, "_run", restore)
    with pytest.raises(UserError) as error:
        measured(small_project, "sr-x2", [str(folder)], [model])
    assert str(error.value) == (
        "sr-x2: memory does not suffice to restore a.png, 48x40 pixels: end other programs, take the image out of the "
        "set, or measure it in parts (`scn evaluate --tile`)."
    )


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


def test_a_model_of_another_level_is_measured_and_told(small_project: Any, folder: Path) -> None:
    text = (small_project.root / "params.yaml").read_text()
    (small_project.root / "params.yaml").write_text(f"{text}  dn-s15: {{task: dn, level: 15}}\n")
    small_project.add_model("dn-s15")
    model = str(small_project.root / "models" / "dn-s15")
    (result,) = measured(small_project, "dn-s25", [str(folder)], [model])
    assert result.notes == [f"{model} was trained for sigma 15, not 25."]


def test_perceptual_distances_have_a_hash(small_project: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.evaluation.compare.perceptual", lambda: {"dists": lambda a, b: 0.25})
    with_it, without = (
        measured(small_project, "sr-x2", [str(folder)], ["input"], perceptual=asked)[0] for asked in (True, False)
    )
    assert with_it.further[0].mean.dists == 0.25
    assert with_it.provenance.perceptual_sha256 == perceptual_sha256(["dists"])
    assert (without.further[0].mean.dists, without.provenance.perceptual_sha256) == (None, None)


def test_a_distance_that_an_image_is_too_small_for_is_left_out_and_told(
    small_project: Any, tmp_path: Path, photograph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lpips(a: Any, b: Any) -> float:
        if min(a.shape[:2]) < 31:
            raise RuntimeError("Output size is too small")
        return 0.25

    monkeypatch.setattr("scn.evaluation.compare.perceptual", lambda: {"lpips": lpips, "dists": lambda a, b: 0.5})
    (tmp_path / "small").mkdir()
    Image.fromarray(photograph(60, 60)).save(tmp_path / "small" / "a.png")
    for side, name, left_out in (
        (30, "dn-s25", ["lpips needs 31x31 pixels or more of all images under dn-rgb-v1, and is left out."]),
        (31, "dn-s25", []),
        (46, "sr-x2", ["lpips needs 48x48 pixels or more of all images under sr-rgb-v1, and is left out."]),
        (48, "sr-x2", []),
        (20, "sr-x2", ["sr-rgb-v1 needs 28x28 pixels or more of all images, and is left out."]),
    ):
        Image.fromarray(photograph(side, 60)).save(tmp_path / "small" / "b.png")
        (result,) = measured(small_project, name, [str(tmp_path / "small")], ["input"], perceptual=True)
        assert result.notes == left_out
        means = [(under.mean.lpips, under.mean.dists) for under in result.further]
        assert means == ([] if side == 20 else [(None if left_out else 0.25, 0.5)])
        measured_by = ["dists"] if left_out else ["lpips", "dists"]
        assert result.provenance.perceptual_sha256 == (perceptual_sha256(measured_by) if means else None)


def test_a_model_of_other_edges_is_measured_and_told(small_project: Any, folder: Path) -> None:
    model = small_project.add_model("sr-x2")
    config = json.loads((model / "config.json").read_text())
    for edges, told in (("replicate", True), ("mirror", False), (None, False)):  # None: an imported model
        (model / "config.json").write_text(json.dumps({**config, "edges": edges}))
        (result,) = measured(small_project, "sr-x2", [str(folder / "sub")], [str(model)])
        sentence = f"{model} was trained on images reduced with data.edges replicate, and sr-x2 has mirror."
        assert result.notes == ["1 of 1 images is cropped to multiples of 2 pixels.", *([sentence] if told else [])]


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
        (
            ("car-q10", ["input"], {"perceptual": True}),
            "^--perceptual: no protocol of car-q10 has LPIPS and DISTS: leave",
        ),
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


def test_a_model_with_weights_for_each_scale_has_no_sweep(small_project: Any, folder: Path) -> None:
    text = (small_project.root / "params.yaml").read_text()
    (small_project.root / "params.yaml").write_text(text.replace("scales: 2", "scales: 2\n  shared: false"))
    small_project.add_model("dn-s25")
    model = str(small_project.root / "models" / "dn-s25")
    with pytest.raises(UserError, match="has weights of its own for each scale"):
        measured(small_project, "dn-s25", [str(folder)], [model], scales=[3])


def test_pictures_of_a_sweep_lie_apart(small_project: Any, folder: Path, tmp_path: Path) -> None:
    small_project.add_model("sr-x2")
    model = str(small_project.root / "models" / "sr-x2")
    measured(small_project, "sr-x2", [str(folder)], [model], scales=[1, 2], save=tmp_path / "out")
    one, two = ((tmp_path / "out" / f"scales-{n}" / "a.png").read_bytes() for n in (1, 2))
    assert one != two
