"""`scn restore`: photographs in, restored photographs out, nothing half-written, one sentence for a mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import scn.inference.restore
from scn.core.errors import UserError
from scn.imaging.degradation import bicubic_upscale
from scn.imaging.image_io import Photograph
from scn.imaging.tasks import TASKS
from scn.inference.model_files import load_model, save_model
from scn.inference.restore import pairs, restore_files, restore_photograph
from scn.registry.publish import publish
from scn.registry.reference import load


class Brighter(nn.Module):
    """A network that adds 10 to 8-bit values, and records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x + 10 / 255


def picture(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None = None) -> Photograph:
    return Photograph(pixels=pixels, alpha=alpha, icc_profile=None)


def restore(source: Path, target: Path, model: str, params_file: Path | str = "params.yaml") -> list[Path]:
    """Restores files as `scn restore` does."""
    return restore_files(pairs(source, target), load(model, params_file=params_file).restore_photograph)


def write(path: Path, pixels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def expected(folder: Path, image: Any) -> Any:
    """Restores an RGB image by a model of an RGB task, step by step."""
    with torch.inference_mode():
        y = load_model(folder)[0](torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255)))
    return np.rint(y[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255.0)


@pytest.fixture
def model(small_project: Any) -> Path:
    folder: Path = small_project.add_model("sr-x2")
    return folder


def test_a_file_becomes_a_file(model: Path, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    image = photograph(20, 30)
    source = write(tmp_path / "in.png", image)
    assert restore(source, tmp_path / "new" / "out.png", str(model)) == [tmp_path / "new" / "out.png"]
    result = read(tmp_path / "new" / "out.png")
    assert result.shape == (40, 60, 3)
    assert np.abs(result - expected(model, image)).max() <= 1
    assert np.array_equal(read(source), image)
    assert restore(source, tmp_path / "new", str(model)) == [tmp_path / "new" / "in.png"]
    assert np.array_equal(read(tmp_path / "new" / "in.png"), result)


def test_a_folder_becomes_a_folder_of_png(model: Path, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    for name in ("b.jpg", "a.png", "C.TIF"):
        write(tmp_path / "in" / name, photograph(16, 17))
    (tmp_path / "in" / ".hidden").write_text("")
    (tmp_path / "in" / "sub").mkdir()
    done = restore(tmp_path / "in", tmp_path / "out", str(model))
    assert [path.name for path in done] == ["C.png", "a.png", "b.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["C.png", "a.png", "b.png"]
    assert read(tmp_path / "out" / "b.png").shape == (32, 34, 3)


def test_a_published_model_restores(small_project: Any, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    folder = small_project.add_model("sr-x2")
    small_project.add_metrics("sr-x2")
    publish(small_project.params, "sr-x2")
    image = photograph(20, 30)
    restore(write(tmp_path / "in.png", image), tmp_path / "out.png", "sr-x2", small_project.root / "params.yaml")
    assert np.abs(read(tmp_path / "out.png") - expected(folder, image)).max() <= 1


def test_rgb_network_on_a_grey_photograph(photograph: Callable[..., Any]) -> None:
    network, grey = Brighter(), photograph(20, 30, 1)
    result = restore_photograph(picture(grey), network, "rgb", 1)
    assert network.seen[0].shape == (1, 3, 20, 30)
    np.testing.assert_array_equal(result.pixels, np.clip(grey.astype(int) + 10, 0, 255))


def test_grey_network_on_each_channel(photograph: Callable[..., Any]) -> None:
    for channels in (1, 3):
        network, image = Brighter(), photograph(20, 30, channels)
        result = restore_photograph(picture(image), network, "each", 1)
        assert network.seen[0].shape == (channels, 1, 20, 30)
        torch.testing.assert_close(network.seen[0][:, 0], torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255)))
        np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))


def test_luma_network_leaves_the_chroma_alone(photograph: Callable[..., Any]) -> None:
    network, image = Brighter(), photograph(20, 30)
    result = restore_photograph(picture(image), network, "luma", 1)
    luma = np.asarray(Image.fromarray(image).convert("YCbCr"))[..., 0]
    np.testing.assert_allclose(network.seen[0][0, 0] * 255, luma, rtol=0, atol=1)
    np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))
    before, after = (
        np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(int) for pixels in (image, result.pixels)
    )
    inside = (image < 245).all(axis=-1)
    assert np.abs(before - after)[inside][:, 1:].max() <= 1
    grey = photograph(20, 30, 1)
    result = restore_photograph(picture(grey), network, "luma", 1)
    np.testing.assert_array_equal(result.pixels, np.clip(grey.astype(int) + 10, 0, 255))


def test_transparency_is_enlarged_or_kept(model: Path, photograph: Callable[..., Any]) -> None:
    rgba = photograph(20, 30, 4)
    source = picture(rgba[..., :3], rgba[..., 3])
    result = restore_photograph(source, load_model(model)[0], "rgb", 2)
    assert np.array_equal(result.alpha, bicubic_upscale(rgba[..., 3], 2))
    assert np.array_equal(restore_photograph(source, Brighter(), "rgb", 1).alpha, rgba[..., 3])


def test_a_large_photograph_goes_in_parts(photograph: Callable[..., Any]) -> None:
    network, image = Brighter(), photograph(300, 210)
    result = restore_photograph(picture(image), network, "rgb", 1, tile=128)
    assert len(network.seen) > 4
    np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        ("missing.png", "out.png", r"missing\.png does not exist: name an image or a folder"),
        ("empty", "out", r"empty holds no images: put the images"),
        ("good.png", "good.png", r"good\.png would replace the image it is made from"),
        ("good.png", "link.png", r"link\.png would replace the image it is made from"),
        ("good.png", ".", r"good\.png would replace the image it is made from"),
        ("folder", "folder", r"would replace the image it is made from"),
        ("folder", "good.png", r"folder is a folder and .*good\.png a file"),
        ("twins", "out", r"a\.png and a\.jpg would both become .*a\.png: rename one"),
        ("good.png", "out.docx", r"out\.docx names no format that can be written"),
        ("good.png", "out", r"out names no format that can be written"),
        ("text.png", "out.png", r"text\.png is no image that can be read"),
        ("cut.png", "out.png", r"cut\.png is damaged"),
        ("small.png", "out.png", r"small\.png is 30x7 pixels: give an image of at least 8x8"),
        ("rgba.png", "out.jpg", r"JPEG can't hold the transparency"),
        ("good.png", "good.png/out.png", r"out\.png can't be written"),
    ],
)
def test_mistakes_get_one_sentence_and_no_output(
    model: Path, tmp_path: Path, photograph: Callable[..., Any], src: str, dst: str, message: str
) -> None:
    root = tmp_path / "images"
    good = write(root / "good.png", photograph(20, 30))
    (root / "link.png").symlink_to(good)
    write(root / "folder" / "a.png", photograph(20, 30))
    write(root / "twins" / "a.png", photograph(20, 30))
    write(root / "twins" / "a.jpg", photograph(20, 30))
    write(root / "small.png", photograph(7, 30))
    write(root / "rgba.png", photograph(20, 30, 4))
    (root / "empty").mkdir()
    (root / "text.png").write_text("text")
    (root / "cut.png").write_bytes(good.read_bytes()[:-600])
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with pytest.raises(UserError, match=message) as caught:
        restore(root / src, root / dst, str(model))
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_folder_stops_at_the_first_bad_image(model: Path, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    write(tmp_path / "in" / "a.png", photograph(20, 30))
    (tmp_path / "in" / "b.png").write_text("text")
    write(tmp_path / "in" / "c.png", photograph(20, 30))
    with pytest.raises(UserError, match=r"b\.png is no image .* \(1 of 3 images were restored\)\.$"):
        restore(tmp_path / "in", tmp_path / "out", str(model))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert read(tmp_path / "out" / "a.png").shape == (40, 60, 3)


def test_an_interruption_leaves_the_old_output(
    model: Path, tmp_path: Path, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = photograph(8, 8)
    source, target = write(tmp_path / "in.png", photograph(20, 30)), write(tmp_path / "out" / "out.png", old)

    def interrupt(self: Image.Image, file: Any, *_: object, **__: object) -> None:
        file.write(b"half an image")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        restore(source, target, str(model))
    assert np.array_equal(read(target), old)
    assert [path.name for path in target.parent.iterdir()] == ["out.png"]


def test_models_that_can_not_be_used(small_project: Any, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    source = write(tmp_path / "in.png", photograph(20, 30))
    with pytest.raises(UserError, match=r"params\.yaml does not exist"):
        restore(source, tmp_path / "out.png", "sr-x2", tmp_path / "params.yaml")
    with pytest.raises(UserError, match="nothing is published there yet"):
        restore(source, tmp_path / "out.png", "sr-x2", small_project.root / "params.yaml")
    folder = small_project.add_model("sr-x2")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"sr"', '"elephant"'))
    with pytest.raises(UserError, match=r"config\.json does not say which task the model is for"):
        restore(source, tmp_path / "out.png", str(folder))
    assert not (tmp_path / "out.png").exists()


def test_a_result_that_is_not_finite_is_never_written(
    small_project: Any, tmp_path: Path, photograph: Callable[..., Any]
) -> None:
    folder = small_project.add_model("sr-x2")
    network, config = load_model(folder)
    next(network.parameters()).data.fill_(torch.nan)
    architecture = config.pop("architecture")
    save_model(folder, network, architecture, config)
    source = write(tmp_path / "in.png", photograph(20, 30))
    with pytest.raises(UserError, match=rf"{folder} gives values that are not finite for {source}"):
        restore(source, tmp_path / "out.png", str(folder))
    assert not (tmp_path / "out.png").exists()


def test_every_task_says_how_colours_are_restored() -> None:
    assert set(scn.inference.restore._ON_COLOUR) == {task.on_colour for task in TASKS.values()}
