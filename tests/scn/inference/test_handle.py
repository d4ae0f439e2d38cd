"""The model handle: what it says of a model, and what it refuses."""

import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from scn.core.errors import UserError
from scn.inference import memory
from scn.inference.handle import Model
from scn.inference.model_config import check_fits
from scn.inference.model_files import load_model
from scn.inference.tiled import margin_of
from scn.registry.imports import import_model
from scn.registry.land import land
from scn.registry.publish import publish
from scn.registry.reference import load
from scn.registry.several import restore


def test_what_a_folder_with_a_model_says(small_project: Any) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    assert (model.task.name, model.level, model.scale, model.channels) == ("sr", 2, 2, 3)
    assert (model.version, model.metrics, model.card) == ("", None, "")
    assert model.config["architecture"]["name"] == "scn"
    images = torch.rand(2, 3, 8, 9)
    expected = load_model(small_project.root / "models" / "sr-x2")[0](images).clamp(0, 1)
    torch.testing.assert_close(model(images), expected.detach())
    assert torch.equal(model(images), model.network(images).clamp(0, 1))


def test_the_random_state_is_the_callers(small_project: Any, photograph: Callable[..., Any]) -> None:
    folder, pixels = small_project.add_model("sr-x2"), photograph(20, 30)
    before = torch.get_rng_state()
    model = Model(folder, "cpu")
    assert torch.equal(torch.get_rng_state(), before)
    model.restore(pixels)
    model(torch.zeros(1, 3, 8, 9))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_pixel_needs_is_measured_once(
    small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []
    monkeypatch.setattr(memory, "activation_bytes", lambda *given: measured.append(given) or 2**20)
    memory._bytes_per_pixel.cache_clear()
    for seed in (0, 1):  # models of one architecture
        model = Model(small_project.add_model("sr-x2", seed), "cpu")
        model.restore(np.stack([photograph(20, 30)] * 3))
    assert len(measured) == 1
    memory._bytes_per_pixel.cache_clear()


@pytest.fixture
def float64() -> Iterator[None]:
    """PyTorch, told to make tensors of float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_model_is_float32_whatever_the_default_is(small_project: Any, float64: None) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    assert {tensor.dtype for tensor in model.network.state_dict().values()} == {torch.float32}
    assert model(torch.rand(1, 3, 8, 9)).dtype == torch.float64


def test_a_result_may_be_changed_and_trained_with(small_project: Any) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    result = model(torch.rand(1, 3, 8, 9))
    assert not result.is_inference()
    result.mul_(255)
    layer = torch.nn.Conv2d(3, 3, 1)
    layer(result).sum().backward()
    assert layer.weight.grad is not None


def test_the_callers_autocast_changes_nothing(small_project: Any, photograph: Callable[..., Any]) -> None:
    folder, images = small_project.add_model("dn-s25"), torch.rand(1, 1, 40, 30)
    model, pixels = Model(folder, "cpu"), photograph(200, 150, 1) / np.float32(255)
    expected, tiled, margin = model(images), model.restore(pixels, tile=128), margin_of(model.network)
    again = Model(folder, "cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(again(images), expected)
        assert margin_of(again.network) == margin
        assert np.array_equal(again.restore(pixels, tile=128), tiled)


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
    deep = photograph(20, 30, 1)[..., 0] * np.uint16(257) + np.uint16(99)
    of_deep = model.restore(Image.fromarray(deep))
    assert of_deep.mode == "I;16"
    assert np.array_equal(np.asarray(of_deep), model.restore(deep))
    assert len(np.unique(np.asarray(of_deep) % 257)) > 1
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(model.restore(tmp_path / "a.png")), restored)
    assert np.array_equal(np.asarray(model.restore(str(tmp_path / "a.png"))), restored)
    grey, alpha = photograph(20, 30, 1), photograph(20, 30, 4)
    assert model.restore(grey[..., 0]).shape == (40, 60)
    assert model.restore(grey).shape == (40, 60, 1)
    assert model.restore(alpha).shape == (40, 60, 4)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_pillow_image_keeps_the_grey_that_is_transparent(small_project: Any, bits: int) -> None:
    """Pillow scales the pixels of few bits when it loads them, and not the value that stands for transparent."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = (16).to_bytes(4, "big") * 2 + bytes([bits, 0, 0, 0, 0])
    pixels = zlib.compress((b"\0" + bytes(bits) + b"\x55" * bits) * 16)  # black on the left, grey on the right
    clear = {2: 0b01, 4: 0b0101}[bits]
    parts = ((b"IHDR", header), (b"tRNS", clear.to_bytes(2, "big")), (b"IDAT", pixels), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    restored = Model(small_project.add_model("dn-s25"), "cpu").restore(Image.open(io.BytesIO(file)))
    assert restored.mode == "LA"
    assert np.array_equal(np.asarray(restored)[..., 1], np.repeat([[255, 0]], 8, axis=1).repeat(16, axis=0))


@pytest.mark.parametrize("damage", [lambda data: data[:3000], lambda data: data[:35] + b"\1" + data[36:]])
def test_a_pillow_image_of_a_damaged_file_is_told(
    small_project: Any, photograph: Callable[..., Any], damage: Callable[[bytes], bytes]
) -> None:
    file = io.BytesIO()
    Image.fromarray(photograph(64, 64)).save(file, "PNG")
    with pytest.raises(UserError, match=r"^The image can't be read \(.*\): open another copy of its file\.$"):
        Model(small_project.add_model("dn-s25"), "cpu").restore(Image.open(io.BytesIO(damage(file.getvalue()))))


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


@pytest.mark.parametrize(("precision", "off"), [("half", 0.005), ("bfloat16", 0.05), ("double", 1e-6)])
@pytest.mark.parametrize("name", ["dn-s25", "sr-x2"])
def test_it_computes_in_another_precision(
    small_project: Any, photograph: Callable[..., Any], name: str, precision: str, off: float
) -> None:
    model = Model(small_project.add_model(name), "cpu")
    images = torch.rand(1, model.channels, 16, 17)
    expected, pixels = model(images), photograph(200, 150, model.channels)
    whole = model.restore(pixels).astype(int)
    assert getattr(model, precision)() is model
    result = model(images)
    assert result.dtype == torch.float32
    assert 0 < (result - expected).abs().max() < off
    assert model(images.bfloat16()).dtype == torch.bfloat16
    assert np.abs(model.restore(pixels) - whole).max() <= max(1, off * 255)
    assert np.abs(model.restore(pixels, tile=128) - whole).max() <= max(1, off * 255)
    assert model.float() is model
    assert model.to("cpu") is model
    assert (model(images) - expected).abs().max() < off


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16])
def test_arrays_and_tensors_are_restored_as_what_they_are(
    small_project: Any, photograph: Callable[..., Any], channels: int, dtype: type
) -> None:
    model = Model(small_project.add_model("sr-x2"), "cpu")
    eight = photograph(21, 30, channels) if channels else photograph(21, 30, 1)[..., 0]
    white: Any = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    pixels = np.divide(eight, 255, dtype=np.float64) * white
    pixels = (np.rint(pixels) if white > 1 else pixels).astype(dtype)
    off = 2e-3 if dtype == np.float16 else 2 / 255
    expected = model.restore(eight) / 255
    restored = model.restore(pixels)
    assert (restored.dtype, restored.shape) == (dtype, expected.shape)
    assert np.abs(restored / white - expected).max() <= 1 / 255 + off
    first = pixels if channels == 0 else np.moveaxis(pixels, -1, 0)
    of_tensor = model.restore(torch.from_numpy(first.copy()))
    last = of_tensor if channels == 0 else of_tensor.movedim(0, -1)
    assert of_tensor.dtype == torch.from_numpy(first.copy()).dtype
    assert np.array_equal(last.numpy(), restored)
    if channels:
        both = model.restore(np.stack([pixels, pixels[::-1]]))
        assert np.array_equal(both[0], restored)
        assert np.array_equal(both[1], model.restore(pixels[::-1]))
        tensors = model.restore(torch.from_numpy(np.stack([first, first])))
        assert torch.equal(tensors[1], of_tensor)


def test_float_is_not_rounded_and_bfloat16_comes_back(small_project: Any) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    image = torch.rand(1, 24, 17, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.restore(image), model(image[None])[0], rtol=0, atol=1e-6)
    assert model.restore(image.bfloat16()).dtype == torch.bfloat16


def test_noise_and_overshoot_may_leave_the_range(small_project: Any) -> None:
    model = Model(small_project.add_model("dn-s25"), "cpu")
    image = np.linspace(-0.01, 1.01, 40 * 32).reshape(40, 32)
    noise = np.random.default_rng(0).normal(0, 50 / 255, (3, 40, 32))
    for accepted in (image, np.clip(noise, -0.9, 1.9), np.clip(noise + 1, -0.9, 1.9), noise[0, :9, :9]):
        pixels = accepted[..., None] if accepted.ndim == 3 else accepted  # black, white, and too small to tell
        assert model.restore(pixels).shape == pixels.shape


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 16, 16), 255.0), r"has values in \[0, 1\], not 255 to 255: divide 8-bit values by 255"),
        (np.full((16, 16), np.nan, np.float32), r"has values in \[0, 1\], not nan to nan: divide"),
        (
            np.linspace(-0.5, 0.5, 32 * 32, dtype=np.float32).reshape(32, 32),
            r"not -0\.5 to 0\.5: where black is -0\.5 add",
        ),
        (torch.linspace(0.5, 1.5, 32 * 32).view(1, 32, 32), r"values in \[0, 1\], not 0\.5 to 1\.5: where black"),
        (torch.zeros(2, 16, 16), r"has 1, 3 or 4 channels before height and width, not the shape \(2, 16, 16\): conv"),
        (np.zeros((16, 16, 2), np.uint8), r"has 1, 3 or 4 channels last, not the shape \(16, 16, 2\): convert"),
        (np.zeros((16, 16), np.int32), r"or a path, not int32 \(16, 16\): convert it first"),
        (torch.zeros(16, 16, dtype=torch.bool), r"or a path, not torch\.bool \(16, 16\): convert it first"),
        (np.zeros((0, 16, 16, 1), np.uint8), r"not uint8 \(0, 16, 16, 1\): convert it first"),
        ([[0, 1]], r"or a path, not list: convert it first"),
        (np.zeros((16, 0, 3), np.float32), r"the image is 0x16 pixels: give an image of at least 8x8"),
        (torch.zeros(2, 1, 16, 0), r"the image is 0x16 pixels: give an image of at least 8x8"),
        (np.zeros((4, 16), np.uint8), r"the image is 16x4 pixels: give an image of at least 8x8"),
    ],
)
def test_what_is_no_image_is_told(small_project: Any, image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Model(small_project.add_model("dn-s25"), "cpu").restore(image)


def test_a_path_may_be_a_string_and_a_model_a_folder(
    small_project: Any, photograph: Callable[..., Any], tmp_path: Path
) -> None:
    folder, pixels = small_project.add_model("sr-x2"), photograph(20, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = Model(folder).restore(pixels)
    for image in (str(tmp_path / "a.png"), tmp_path / "a.png"):
        assert np.array_equal(np.asarray(restore(image, str(folder))), expected)
    assert np.array_equal(restore(pixels, Model(folder)), expected)
    with pytest.raises(UserError, match=r"^b\.png does not exist: name an image"):
        restore("b.png", folder)


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
    path, file, folder = small_project.root / "params.yaml", small_project.root / "a.pth", small_project.root / "theirs"
    shapes = {"model.0": (8, 1), "model.2": (8, 8), "model.4": (1, 8)}
    weights = {f"{name}.weight": torch.zeros(*shape, 3, 3) for name, shape in shapes.items()}
    torch.save(weights | {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}, file)
    import_model(file, folder, task="dn")
    config = load_model(folder)[1]
    assert (config["task"], "level" in config) == ("dn", False)

    document = yaml.safe_load(path.read_text())
    document["model"] = {"name": "dncnn", "layers": 3, "units": 8, "batch_norm": False}
    for level in (15, 25):
        document["experiments"]["dn-s25"]["level"] = level
        path.write_text(yaml.safe_dump(document))
        check_fits(config, folder, small_project.params.experiment("dn-s25"))
    with pytest.raises(UserError, match=r"theirs holds a model of another task than .* for car-q10"):
        check_fits(config, folder, small_project.params.experiment("car-q10"))
    document["model"]["units"] = 16
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=r"theirs holds a model of another architecture than .* for dn-s25"):
        check_fits(config, folder, small_project.params.experiment("dn-s25"))


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


def test_a_device_that_there_is_not_is_told_in_few_words(small_project: Any) -> None:
    with pytest.raises(UserError, match=r"^The device 'tpu' can't be used \(PyTorch knows none of that kind\): name"):
        Model(small_project.add_model("dn-s25"), "tpu")
