"""The model handle: what it says of a model, and what it refuses."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scn.core.errors import UserError
from scn.inference.handle import Model
from scn.inference.model_files import check_fits, load_model
from scn.registry.land import land
from scn.registry.publish import publish
from scn.registry.reference import load


def test_what_a_folder_with_a_model_says(small_project: Any) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    assert (model.task.name, model.level, model.scale, model.channels) == ("sr", 2, 2, 3)
    assert (model.version, model.metrics, model.card) == ("", None, "")
    assert model.config["architecture"]["name"] == "scn"
    images = torch.rand(2, 3, 8, 9)
    expected = load_model(small_project.root / "models" / "sr-x2")[0](images).clamp(0, 1)
    torch.testing.assert_close(model(images), expected.detach())
    assert torch.equal(model(images), model.network(images).clamp(0, 1))


def test_what_a_published_model_says(small_project: Any) -> None:
    small_project.add_model("dn-s25")
    small_project.add_metrics("dn-s25", psnr=30.0)
    publish(small_project.params, "dn-s25")
    model = load("dn-s25", "cpu", params_file=small_project.params.path)
    assert (model.task.name, model.level, model.scale, model.channels, model.version) == ("dn", 25, 1, 1, "v1")
    assert model.metrics
    assert model.metrics.sets["sample/evaluation"].model.psnr == 31.5
    assert model.metrics.sets["sample/evaluation"].model.ssim == pytest.approx(0.815)
    assert model.metrics.provenance.data_sha256 == "d" * 64
    assert model.card.startswith("# dn-s25: denoising, sigma 25\n")


def test_an_image_comes_back_as_the_kind_that_it_was(
    small_project: Any, photograph: Callable[..., Any], tmp_path: Path
) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    pixels = photograph(20, 30)
    batch = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))
    expected = np.rint(model(batch)[0].permute(1, 2, 0).numpy() * 255.0).astype(int)
    restored = model.restore(pixels)
    assert (restored.dtype, restored.shape) == (np.uint8, (40, 60, 3))
    assert np.abs(restored - expected).max() <= 1
    of_image = model.restore(Image.fromarray(pixels))
    assert isinstance(of_image, Image.Image)
    assert np.array_equal(np.asarray(of_image), restored)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(model.restore(tmp_path / "a.png")), restored)
    assert np.array_equal(np.asarray(model.restore(str(tmp_path / "a.png"))), restored)
    grey, alpha = photograph(20, 30, 1), photograph(20, 30, 4)
    assert model.restore(grey[..., 0]).shape == (40, 60)
    assert model.restore(grey).shape == (40, 60, 1)
    assert model.restore(alpha).shape == (40, 60, 4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 1, 8, 8), r"takes images \(N, 3, H, W\), not of shape \(1, 1, 8, 8\): add"),
        (torch.zeros(3, 8, 8), r"not of shape \(3, 8, 8\): add"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"not torch\.uint8: convert it"),
        (np.zeros((8, 8, 3), np.uint8), "not ndarray: convert it"),
        (torch.full((1, 3, 8, 8), 255.0), "not 255 to 255: divide 8-bit values by 255"),
    ],
)
def test_what_is_no_batch_of_images_is_told(small_project: Any, images: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Model(small_project.add_model("sr-x2"), "cpu")(images)


@pytest.mark.parametrize("device", ["elephant", "cuda:99"])
def test_a_device_that_is_not_there_is_told(small_project: Any, device: str) -> None:
    with pytest.raises(UserError, match=rf"^The device '{device}' can't be used \(.*\): name another one, such as cpu"):
        Model(small_project.add_model("sr-x2"), device)


def test_it_goes_to_another_process_and_its_network_to_another_precision(small_project: Any) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    images = torch.rand(1, 1, 16, 17)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images), model(images))
    for precision, off in ((torch.float16, 0.01), (torch.bfloat16, 0.05), (torch.float64, 1e-5)):
        network = pickle.loads(pickle.dumps(model)).network.to(precision)
        result = network(images.to(precision))
        assert result.dtype == precision
        torch.testing.assert_close(result.float().clamp(0, 1), model(images), rtol=0, atol=off)


def test_what_is_no_number_is_told(small_project: Any) -> None:
    with pytest.raises(UserError, match=r"takes values in .*, not nan to nan"):
        Model(small_project.add_model("dn-s25"), "cpu")(torch.full((1, 1, 8, 8), torch.nan))


def test_damaged_metrics_are_told(small_project: Any) -> None:
    folder = small_project.add_model("sr-x2")
    (folder / "metrics.json").write_text("{}")
    model = Model(folder, "cpu")
    with pytest.raises(UserError, match=r"metrics\.json holds no metrics \(provenance: field required\): fetch the"):
        assert model.metrics


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [("units: 4", "units: 8", "architecture"), ("level: 25", "level: 50", "level"), ("task: dn", "task: car", "task")],
)
def test_a_model_that_does_not_fit_its_experiment_is_told(small_project: Any, old: str, new: str, key: str) -> None:
    folder = small_project.add_model("dn-s25")
    small_project.add_metrics("dn-s25")
    config = load_model(folder)[1]
    check_fits(config, folder, small_project.params.experiment("dn-s25"))
    path = small_project.root / "params.yaml"
    path.write_text(path.read_text().replace(old, new))
    message = rf"dn-s25 holds a model of another {key} than .* for dn-s25: .* or run `dvc repro train@dn-s25`\.$"
    with pytest.raises(UserError, match=message):
        check_fits(config, folder, small_project.params.experiment("dn-s25"))
    for command in (publish, land):
        with pytest.raises(UserError, match=message):
            command(small_project.params, "dn-s25")


def test_an_imported_model_names_no_level_and_fits_any(small_project: Any) -> None:
    folder = small_project.add_model("dn-s25")
    config = {key: value for key, value in load_model(folder)[1].items() if key != "level"}
    check_fits(config, folder, small_project.params.experiment("dn-s25"))
    assert "level" not in config


def test_self_ensemble_is_asked_for_and_is_the_mean_of_eight(
    small_project: Any, photograph: Callable[..., Any]
) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    pixels = photograph(24, 16, 1)[..., 0]
    views = [np.rot90(pixels if flip else pixels[:, ::-1], turns) for flip in (0, 1) for turns in range(4)]
    results = []
    for i, view in enumerate(views):
        batch = torch.from_numpy(np.ascontiguousarray(view)[None, None] / np.float32(255))
        back = np.rot90(model.network(batch).detach()[0, 0].numpy(), -(i % 4))
        results.append(back if i >= 4 else back[:, ::-1])
    expected = np.rint(np.mean(results, axis=0).clip(0, 1) * 255)
    restored = model.restore(pixels, self_ensemble=True)
    assert np.abs(restored - expected).max() <= 1
    assert not np.array_equal(restored, model.restore(pixels))
