"""The stages evaluate and ensemble: what is measured, what the files say, and what is refused."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.core.ray import stop_ray
from scn.evaluation.code import evaluation_code
from scn.evaluation.protocols import measure
from scn.evaluation.results import SetEvaluation
from scn.evaluation.runner import add_ensemble, degrade, ensemble_stage, evaluate, evaluate_stage
from scn.imaging.degradation import bicubic_downscale, bicubic_upscale, evaluation_noise, jpeg, to_uint8
from scn.inference.model_files import load_model
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


def test_input_and_model_are_measured_image_by_image(small_project: Any, grey: dict[str, Any]) -> None:
    manifest = small_project.add_shards("car-q10", grey).evaluation
    experiment = small_project.params.experiment("car-q10")
    store = open_store("file://store", small_project.root)
    result = evaluate(experiment, manifest, store, Darker())
    assert list(result) == [SET]
    rows = result[SET].images
    assert [row.name for row in rows] == ["a", "b"]
    for row, hr in zip(rows, grey.values(), strict=True):
        lr = jpeg(hr, 10)
        restored = to_uint8(lr / 255 * np.linspace(0.8, 1, len(hr), dtype=np.float32)[:, None])
        expected = measure(lr, hr, experiment.task, 1)
        assert row.input.psnr == pytest.approx(expected.psnr, abs=6e-5)
        assert row.input.ssim == pytest.approx(expected.ssim, abs=6e-5)
        assert row.model.psnr == pytest.approx(measure(restored, hr, experiment.task, 1).psnr, abs=1e-2)
    assert result[SET].input.psnr == pytest.approx(np.mean([row.input.psnr for row in rows]), abs=6e-5)
    assert result[SET].model.psnr == pytest.approx(np.mean([row.model.psnr for row in rows]), abs=6e-5)


def test_ensemble_measures_the_mean_of_eight(small_project: Any, grey: dict[str, Any]) -> None:
    manifest = small_project.add_shards("car-q10", {"a": grey["a"]}).evaluation
    experiment = small_project.params.experiment("car-q10")
    store = open_store("file://store", small_project.root)
    network = Darker()
    first, second = Figures(psnr=1.0, ssim=0.1), Figures(psnr=2.0, ssim=0.2)
    before = SetEvaluation(input=first, model=second, images=[])
    result = add_ensemble({SET: before}, experiment, manifest, store, network)
    assert len(network.inputs) == 8
    assert (result[SET].input, result[SET].model) == (first, second)
    # The eight darken every side alike: 0.9 on average, everywhere.
    restored = to_uint8(jpeg(grey["a"], 10) / 255 * 0.9)
    expected = measure(restored, grey["a"], experiment.task, 1).psnr
    assert result[SET].ensemble.psnr == pytest.approx(expected, abs=0.01)


def test_super_resolution_measures_the_stored_enlargement(small_project: Any, photograph: Any) -> None:
    hr = photograph(32, 40)
    manifest = small_project.add_shards("sr-x2", {"a": hr, "grey": photograph(32, 40, 1)[..., 0]}).evaluation
    experiment = small_project.params.experiment("sr-x2")
    network = Darker(2)
    result = evaluate(experiment, manifest, open_store("file://store", small_project.root), network)
    lr = bicubic_downscale(hr, 2)
    expected = measure(bicubic_upscale(lr, 2), hr, experiment.task, 2)
    assert result[SET].images[0].input.psnr == pytest.approx(expected.psnr, abs=6e-5)
    assert result[SET].images[0].input.ssim == pytest.approx(expected.ssim, abs=6e-5)
    torch.testing.assert_close(network.inputs[0][0], torch.from_numpy(lr.transpose(2, 0, 1) / np.float32(255)))
    assert network.inputs[1].shape == (1, 3, 16, 20)  # a grey photograph goes into an RGB network three times


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
    evaluation = json.loads(evaluate_stage(params, name).read_text())
    assert evaluate_stage(params, name) == small_project.root / "evaluations" / f"{name}.json"
    path = ensemble_stage(params, name)
    assert path == small_project.root / "metrics" / f"{name}.json"
    metrics = json.loads(path.read_text())
    assert list(metrics) == [SET, "provenance"]
    assert {key: list(value) for key, value in metrics[SET].items()} == {
        key: ["psnr", "ssim"] for key in ("input", "model", "ensemble")
    }
    assert metrics[SET]["model"] == evaluation["sets"][SET]["model"]
    assert metrics["provenance"] == {
        "protocol": "dn: grey, full range, 8 bits, no crop",
        "precision": "float32",
        "data_sha256": manifest.sha256,
        "weights_sha256": file_sha256(folder / "model.safetensors"),
        "code_sha256": evaluation_code("scn"),
        "images": {SET: 2},
        "ensemble_code_sha256": evaluation_code("scn"),
    }


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
        store = open_store("file://store", small_project.root)
        results.append(evaluate(experiment, manifest, store, network)[SET].model.psnr)
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
        ("no evaluation", r"evaluations/dn-s25\.json does not exist: run `dvc repro evaluate@dn-s25`"),
        ("broken evaluation", r"evaluations/dn-s25\.json holds no evaluation .*: run `dvc repro evaluate@dn-s25`"),
        ("retrained", r"was measured with another weights_sha256 than this experiment has now: run `dvc repro"),
    ],
)
def test_one_sentence_for_what_does_not_fit(small_project: Any, grey: dict[str, Any], spoil: str, message: str) -> None:
    name, root = "dn-s25", small_project.root
    small_project.add_shards(name, grey)
    small_project.add_model(name)
    stage: Callable[..., Any] = evaluate_stage
    evaluation = root / "evaluations" / f"{name}.json"
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
    assert not (root / "metrics").exists()
    if stage is evaluate_stage:
        assert not evaluation.exists()


@pytest.mark.integration
def test_the_figures_are_the_same_on_a_ray_cluster(
    small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.add_shards("sr-x2", {"a": photograph(32, 40), "b": photograph(24, 26)})
    small_project.add_model("sr-x2")
    params = small_project.params
    here = evaluate_stage(params, "sr-x2").read_bytes()
    metrics = ensemble_stage(params, "sr-x2").read_bytes()
    monkeypatch.setenv("RAY_ADDRESS", "local")  # Ray's name for a cluster of its own, on this machine
    try:
        assert evaluate_stage(params, "sr-x2").read_bytes() == here
        assert ensemble_stage(params, "sr-x2").read_bytes() == metrics
    finally:
        stop_ray()
