"""The stages evaluate and ensemble: what is measured, what the files say, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import Restorer, degrade, restorer
from scn.evaluation.kept import Kept
from scn.evaluation.measuring import Measured, computation_of, means
from scn.evaluation.protocols import measure, protocol
from scn.evaluation.results import Evaluation, ImageResult, gain, picture_file, result_file
from scn.evaluation.runner import ensemble_stage, evaluate_stage
from scn.evaluation.sets import measured_sets
from scn.imaging.degradation import bicubic_downscale, bicubic_upscale, evaluation_noise, jpeg, to_uint8
from scn.inference.model_files import load_model
from scn.inference.precision import Computation, kind_of
from scn.inference.records import Figures
from scn.shards.samples import About, Sample
from scn.storage import open_store

SET = "sample/evaluation"


class Darker(nn.Module):
    """Not a network, but its result is known; darker at the top, so that self-ensemble changes it."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x)
        y = x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        return y * torch.linspace(0.8, 1, y.shape[-2])[:, None]


@pytest.fixture
def grey(photograph: Callable[..., Any]) -> dict[str, Any]:
    return {"a": photograph(24, 32, 1)[..., 0], "b": photograph(31, 17, 1)[..., 0]}


def measured(project: Any, experiment: Any, manifest: Any, methods: dict[str, Any]) -> list[ImageResult]:
    """The results of every image of the only set."""
    store = open_store("file://store", project.root)
    ((name, images),) = measured_sets(experiment, manifest, store, methods)
    assert name == SET
    return [image.result for image in images]


def test_input_and_model_are_measured_image_by_image(small_project: Any, grey: dict[str, Any]) -> None:
    manifest = small_project.add_shards("car-q10", grey).evaluation
    experiment, rule = small_project.params.experiment("car-q10"), protocol("car-y-v1")
    rows = measured(small_project, experiment, manifest, {"input": None, "model": restorer(experiment, Darker())})
    assert [(row.name, row.height, row.width) for row in rows] == [("a", 24, 32), ("b", 31, 17)]
    for row, hr in zip(rows, grey.values(), strict=True):
        assert list(row.figures) == ["car-y-v1"]
        figures = row.figures["car-y-v1"]
        lr = jpeg(hr, 10)
        restored = to_uint8(lr / 255 * np.linspace(0.8, 1, len(hr), dtype=np.float32)[:, None])
        expected = measure(lr, hr, rule, 1)
        for metric in ("psnr", "ssim", "ssim8", "psnr_b"):
            assert getattr(figures["input"], metric) == pytest.approx(getattr(expected, metric), abs=6e-5)
        assert figures["model"].psnr == pytest.approx(measure(restored, hr, rule, 1).psnr, abs=1e-2)
    average = means(rows)["car-y-v1"]
    for method in ("input", "model"):
        psnr = [row.figures["car-y-v1"][method].psnr for row in rows]
        assert average[method].psnr == pytest.approx(np.mean(psnr), abs=6e-5)


def test_ensemble_measures_the_mean_of_eight(small_project: Any, grey: dict[str, Any]) -> None:
    manifest = small_project.add_shards("car-q10", {"a": grey["a"]}).evaluation
    experiment, network = small_project.params.experiment("car-q10"), Darker()
    (row,) = measured(small_project, experiment, manifest, {"ensemble": restorer(experiment, network, ensemble=True)})
    assert sum(len(x) for x in network.inputs) == 8
    # The eight darken every side alike: 0.9 on average, everywhere.
    restored = to_uint8(jpeg(grey["a"], 10) / 255 * 0.9)
    expected = measure(restored, grey["a"], protocol("car-y-v1"), 1).psnr
    assert row.figures["car-y-v1"]["ensemble"].psnr == pytest.approx(expected, abs=0.01)


def test_super_resolution_measures_the_stored_enlargement(small_project: Any, photograph: Any) -> None:
    hr = photograph(32, 40)
    manifest = small_project.add_shards("sr-x2", {"a": hr, "grey": photograph(32, 40, 1)[..., 0]}).evaluation
    experiment, network = small_project.params.experiment("sr-x2"), Darker(2)
    rows = measured(small_project, experiment, manifest, {"input": None, "model": restorer(experiment, network)})
    lr = bicubic_downscale(hr, 2)
    for name in ("sr-y-v1", "sr-rgb-v1"):
        expected = measure(bicubic_upscale(lr, 2), hr, protocol(name), 2)
        assert rows[0].figures[name]["input"].psnr == pytest.approx(expected.psnr, abs=6e-5)
        assert rows[0].figures[name]["input"].ssim == pytest.approx(expected.ssim, abs=6e-5)
    torch.testing.assert_close(network.inputs[0][0], torch.from_numpy(lr.transpose(2, 0, 1) / np.float32(255)))
    assert network.inputs[1].shape == (1, 3, 16, 20)  # a grey photograph goes into an RGB network three times


def test_a_protocol_that_an_image_is_too_small_for_has_no_mean(small_project: Any, photograph: Any) -> None:
    manifest = small_project.add_shards("sr-x2", {"a": photograph(32, 40), "b": photograph(24, 40)}).evaluation
    experiment = small_project.params.experiment("sr-x2")
    rows = measured(small_project, experiment, manifest, {"input": None})
    assert [list(row.figures) for row in rows] == [["sr-y-v1", "sr-rgb-v1"], ["sr-y-v1"]]
    assert list(means(rows)) == ["sr-y-v1"]


def test_a_one_channel_network_restores_each_channel_of_a_colour_image(small_project: Any) -> None:
    experiment, network = small_project.params.experiment("dn-s25"), Darker()
    image = np.random.default_rng(0).random((12, 16, 3), np.float32)
    restored = restorer(experiment, network)(image)
    assert [x.shape for x in network.inputs] == [(3, 1, 12, 16)]
    expected = image * np.linspace(0.8, 1, 12, dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(restored, expected * 255, rtol=0, atol=0.51)


def test_tiles_give_the_same_where_the_network_sees_one_pixel(small_project: Any) -> None:
    experiment = small_project.params.experiment("dn-s25")
    image = np.random.default_rng(0).random((150, 90), np.float32) * 1.4 - 0.2  # noise leaves [0, 1]
    whole = Restorer(network=nn.Identity(), channels=1, scale=1, precision=experiment.evaluate.precision)
    np.testing.assert_array_equal(replace(whole, tile=80)(image), whole(image))


def test_noise_goes_into_the_network_unclipped_and_is_measured_as_seen(small_project: Any) -> None:
    experiment = small_project.params.experiment("dn-s25")
    hr = np.full((40, 40), 250, np.uint8)
    image, seen = degrade(Sample(about=About(name="a", height=hr.shape[0], width=hr.shape[1]), hr=hr), experiment)
    noise = evaluation_noise("a", hr.shape, 25)
    np.testing.assert_allclose(image, (250 + noise) / 255, rtol=0, atol=1e-6)
    assert image.dtype == np.float32
    assert image.max() > 1.1
    assert seen.dtype == np.uint8
    np.testing.assert_allclose(seen, np.clip(250 + noise, 0, 255), rtol=0, atol=0.501)


def test_the_stages_write_figures_with_their_provenance(small_project: Any, grey: dict[str, Any]) -> None:
    name = "dn-s25"
    manifest = small_project.add_shards(name, grey).evaluation
    folder = small_project.add_model(name)
    params = small_project.params
    evaluations = small_project.root / "evaluations" / name
    assert evaluate_stage(params, name) == evaluations / "model.json"
    assert ensemble_stage(params, name) == evaluations / "ensemble.json"
    first, both = (json.loads((evaluations / f"{stage}.json").read_text()) for stage in ("model", "ensemble"))
    figures = both["sets"][SET]["mean"]["dn-grey-v1"]
    assert {key: list(value) for key, value in figures.items()} == {
        key: ["psnr", "ssim"] for key in ("input", "model", "ensemble")
    }
    assert {key: figures[key] for key in ("input", "model")} == first["sets"][SET]["mean"]["dn-grey-v1"]
    assert [list(image["figures"]["dn-grey-v1"]) for image in both["sets"][SET]["images"]] == [list(figures)] * 2
    assert both["provenance"] == {
        "protocol": "dn-grey-v1",
        "precision": "float32",
        "device": kind_of(torch.device("cpu")),
        "data_sha256": manifest.sha256,
        "weights_sha256": file_sha256(folder / "model.safetensors"),
        "code_sha256": evaluation_code("scn"),
        "images": {SET: 2},
        "sets_sha256": {SET: manifest.sets[SET].content},
        "ensemble_code_sha256": evaluation_code("scn"),
    }


def test_the_stages_keep_pictures_where_the_model_gains_most_and_least(small_project: Any, photograph: Any) -> None:
    name = "dn-s25"
    images = {f"{i}/x.png": photograph(20 + i, 24, 1)[..., 0] for i in range(6)}
    small_project.add_shards(name, images)
    small_project.add_model(name)
    evaluate_stage(small_project.params, name)
    ensemble_stage(small_project.params, name)
    path = result_file(small_project.root, name, "ensemble")
    result = Evaluation.loads(path.read_bytes(), path, "").sets[SET]
    order = sorted(result.images, key=lambda image: gain(image, "dn-grey-v1"))
    assert result.least == [image.name for image in order[:2]]
    assert result.most == [image.name for image in order[:-3:-1]]
    kept = {
        path.parent.relative_to(small_project.root / "evaluations" / name / "pictures" / SET).as_posix()
        for path in (small_project.root / "evaluations" / name / "pictures").rglob("truth.png")
    }
    assert kept == {*result.most, *result.least}
    figures = next(image for image in result.images if image.name == result.most[0]).figures["dn-grey-v1"]
    truth, *others = (
        np.asarray(Image.open(picture_file(small_project.root, name, SET, result.most[0], picture)))
        for picture in ("truth", "input", "model", "ensemble")
    )
    np.testing.assert_array_equal(truth, images[result.most[0]])
    for picture, of_method in zip(others, figures.values(), strict=True):
        assert measure(picture, truth, protocol("dn-grey-v1"), 1).psnr == pytest.approx(of_method.psnr, abs=6e-5)


@pytest.mark.parametrize(
    ("count", "most", "least"), [(1, [1], []), (2, [2], [1]), (3, [3, 2], [1]), (9, [9, 8], [1, 2])]
)
def test_no_image_is_among_the_best_and_the_worst(count: int, most: list[int], least: list[int]) -> None:
    kept = Kept("dn-grey-v1")
    for i in np.random.default_rng(1).permutation(count) + 1:
        figures = {"input": Figures(psnr=20.0, ssim=0), "model": Figures(psnr=20.0 + i, ssim=0)}
        result = ImageResult(name=str(i), height=1, width=1, figures={"dn-grey-v1": figures})
        assert kept.add(Measured(result=result, pictures={})) is result
    assert (kept.most, kept.least) == ([str(i) for i in most], [str(i) for i in least])
    assert len(kept.pictures) == len(most) + len(least)


def test_the_stages_are_repeatable(small_project: Any, grey: dict[str, Any]) -> None:
    small_project.add_shards("dn-s25", grey)
    small_project.add_model("dn-s25")
    first = evaluate_stage(small_project.params, "dn-s25").read_bytes()
    assert evaluate_stage(small_project.params, "dn-s25").read_bytes() == first


def test_bfloat16_is_used_when_asked_for(
    small_project: Any, grey: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "scn.inference.precision.has_bfloat16", lambda device: True
    )  # PyTorch has it everywhere, if slow
    small_project.add_shards("dn-s25", grey)
    network = load_model(small_project.add_model("dn-s25"))[0]
    text = (small_project.root / "params.yaml").read_text()
    results = []
    for precision in ("float32", "bfloat16"):
        (small_project.root / "params.yaml").write_text(f"{text}evaluate: {{precision: {precision}}}\n")
        experiment = small_project.params.experiment("dn-s25")
        manifest = small_project.add_shards("dn-s25", grey).evaluation
        rows = measured(small_project, experiment, manifest, {"model": restorer(experiment, network)})
        results.append(means(rows)["dn-grey-v1"]["model"].psnr)
    assert results[0] != results[1]
    assert results[0] == pytest.approx(results[1], abs=0.3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("no shards", r"evaluation\.json does not exist"),
        ("other shards", r"holds the shards of car-q10 \(car, level 10\), not of dn-s25 \(dn, level 25\)"),
        ("no model", r"is no model folder"),
        (
            "other model",
            r"another architecture than .*params\.yaml describes for dn-s25: .* `dvc repro train@dn-s25`",
        ),
        ("unknown experiment", "'dn-s26' is no known experiment: did you mean 'dn-s25'"),
        ("tiny image", r"sample/evaluation: the image tiny is 30x10 pixels, but dn-s25 is measured on at least 11x11"),
        ("no evaluation", r"evaluations/dn-s25/model\.json does not exist: run `dvc repro evaluate@dn-s25`"),
        (
            "broken evaluation",
            r"dn-s25/model\.json holds no evaluation .*: run `dvc repro evaluate@dn-s25`",
        ),
        ("retrained", r"was measured with another weights_sha256 than this experiment has now: run `dvc repro"),
    ],
)
def test_one_sentence_for_what_does_not_fit(small_project: Any, grey: dict[str, Any], spoil: str, message: str) -> None:
    name, root = "dn-s25", small_project.root
    small_project.add_shards(name, grey)
    small_project.add_model(name)
    stage: Callable[..., Any] = evaluate_stage
    evaluation = root / "evaluations" / name / "model.json"
    if spoil in ("no evaluation", "broken evaluation", "retrained"):
        evaluate_stage(small_project.params, name)
        stage = ensemble_stage
    match spoil:
        case "no shards":
            (root / "shards" / name / "evaluation.json").unlink()
        case "other shards":
            small_project.add_shards("car-q10", grey)
            (root / "shards/car-q10/evaluation.json").replace(root / "shards" / name / "evaluation.json")
        case "no model":
            (root / "models" / name / "config.json").unlink()
        case "other model":
            text = (root / "params.yaml").read_text()
            (root / "params.yaml").write_text(text.replace("units: 4", "units: 8"))
        case "unknown experiment":
            name = "dn-s26"
        case "tiny image":
            small_project.add_shards(name, {"tiny": np.zeros((10, 30), np.uint8)})
        case "no evaluation":
            evaluation.unlink()
        case "broken evaluation":
            evaluation.write_text(evaluation.read_text()[:100])
        case "retrained":
            small_project.add_model(name, seed=1)
    with pytest.raises(UserError, match=message):
        stage(small_project.params, name)
    assert not (root / "evaluations" / name / "ensemble.json").exists()
    if stage is evaluate_stage:
        assert not evaluation.exists()


def test_kinds_of_devices_are_all_named_and_different_precisions_refused() -> None:
    old, new = Computation("CPU, AVX2", "float32"), Computation("CPU, AVX512", "float32")
    assert computation_of([new, old, new]) == Computation("CPU, AVX2; CPU, AVX512", "float32")
    assert computation_of([]) is None
    with pytest.raises(UserError, match=r"float32 \(CPU, AVX2\) and bfloat16 \(H100\), .* set evaluate\.precision"):
        computation_of([Computation("H100", "bfloat16"), old])


def test_self_ensemble_joins_an_evaluation_of_its_precision_only(small_project: Any, grey: dict[str, Any]) -> None:
    name, here = "dn-s25", kind_of(torch.device("cpu"))
    small_project.add_shards(name, grey)
    small_project.add_model(name)
    path = evaluate_stage(small_project.params, name)
    text = path.read_text()
    path.write_text(text.replace(here, "H100"))
    assert json.loads(ensemble_stage(small_project.params, name).read_text())["provenance"]["device"] == f"H100; {here}"
    path.write_text(text.replace('"precision": "float32"', '"precision": "bfloat16"'))
    with pytest.raises(UserError, match=r"computed in bfloat16, self-ensemble in float32: run `dvc repro evaluate@dn"):
        ensemble_stage(small_project.params, name)
