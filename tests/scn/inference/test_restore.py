"""`scn restore`: photographs in, restored photographs out, nothing half-written, one sentence for a mistake."""

import re
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
from scn.imaging.tasks import TASKS, OnColour
from scn.imaging.tiles import spans
from scn.inference.batch import Outcome, restore_all
from scn.inference.inputs import plan
from scn.inference.memory import economical
from scn.inference.model_files import load_model, save_model
from scn.inference.restore import Options, restore_photograph
from scn.registry.publish import publish
from scn.registry.reference import load

SMALL = {"name": "vdsr", "layers": 2, "units": 4, "channels": 1, "scale": 1}
"""An architecture, to be told how much memory a network takes."""


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


def restore(source: Path, target: Path, model: str, params_file: Path | str = "params.yaml") -> Outcome:
    """Restores files as `scn restore` does."""
    loaded = load(model, "cpu", params_file=params_file)
    options = Options(precision="float32")
    todo = plan([str(source)], str(target), overwrite=True).jobs
    return restore_all(todo, lambda picture, name, done: loaded.restore_photograph(picture, name, options, done))


def applied(image: Photograph, network: nn.Module, on_colour: OnColour, **options: Any) -> Photograph:
    """Restores a photograph by a network that nothing is known of."""
    return restore_photograph(image, network, SMALL, on_colour, Options(**{"tile": 512, **options}))


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
    assert restore(source, tmp_path / "new" / "out.png", str(model)).restored == [tmp_path / "new" / "out.png"]
    result = read(tmp_path / "new" / "out.png")
    assert result.shape == (40, 60, 3)
    assert np.abs(result - expected(model, image)).max() <= 1
    assert np.array_equal(read(source), image)
    assert restore(source, tmp_path / "new", str(model)).restored == [tmp_path / "new" / "in.png"]
    assert np.array_equal(read(tmp_path / "new" / "in.png"), result)


def test_a_published_model_restores(small_project: Any, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    folder = small_project.add_model("sr-x2")
    small_project.add_metrics("sr-x2")
    publish(small_project.params, "sr-x2")
    image = photograph(20, 30)
    restore(write(tmp_path / "in.png", image), tmp_path / "out.png", "sr-x2", small_project.root / "params.yaml")
    assert np.abs(read(tmp_path / "out.png") - expected(folder, image)).max() <= 1


def test_rgb_network_on_a_grey_photograph(photograph: Callable[..., Any]) -> None:
    network, grey = Brighter(), photograph(20, 30, 1)
    result = applied(picture(grey), network, "rgb")
    assert network.seen[0].shape == (1, 3, 20, 30)
    np.testing.assert_array_equal(result.pixels, np.clip(grey.astype(int) + 10, 0, 255))


def test_grey_network_on_each_channel(photograph: Callable[..., Any]) -> None:
    for channels in (1, 3):
        network, image = Brighter(), photograph(20, 30, channels)
        result = applied(picture(image), network, "each")
        assert network.seen[0].shape == (channels, 1, 20, 30)
        torch.testing.assert_close(network.seen[0][:, 0], torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255)))
        np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))


def test_luma_network_leaves_the_chroma_alone(photograph: Callable[..., Any]) -> None:
    network, image = Brighter(), photograph(20, 30)
    result = applied(picture(image), network, "luma")
    luma = np.asarray(Image.fromarray(image).convert("YCbCr"))[..., 0]
    np.testing.assert_allclose(network.seen[0][0, 0] * 255, luma, rtol=0, atol=1)
    np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))
    before, after = (
        np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(int) for pixels in (image, result.pixels)
    )
    inside = (image < 245).all(axis=-1)
    assert np.abs(before - after)[inside][:, 1:].max() <= 1
    grey = photograph(20, 30, 1)
    result = applied(picture(grey), network, "luma")
    np.testing.assert_array_equal(result.pixels, np.clip(grey.astype(int) + 10, 0, 255))


def test_transparency_is_enlarged_or_kept(model: Path, photograph: Callable[..., Any]) -> None:
    rgba = photograph(20, 30, 4)
    source = picture(rgba[..., :3], rgba[..., 3])
    result = applied(source, load_model(model)[0], "rgb")
    assert np.array_equal(result.alpha, bicubic_upscale(rgba[..., 3], 2))
    assert np.array_equal(applied(source, Brighter(), "rgb").alpha, rgba[..., 3])


def test_a_large_photograph_goes_in_parts(photograph: Callable[..., Any]) -> None:
    network, image = Brighter(), photograph(300, 210)
    result = applied(picture(image), network, "rgb", tile=128)
    assert len(network.seen) > 4
    np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        ("text.png", "out.png", r"text\.png is text, and no image that can be read"),
        ("script.jpg", "out.png", r"script\.jpg is EPS, and no image that can be read: give PNG"),
        ("cut.png", "out.png", r"cut\.png is damaged"),
        ("small.png", "out.png", r"small\.png is 30x7 pixels: give an image of at least 8x8"),
        ("thin.png", "out.png", r"thin\.png is 90x1 pixels: give an image of at least 8x8"),
        ("rgba.png", "out.jpg", r"JPEG can't hold the transparency"),
        ("good.png", "good.png/out.png", r"out\.png can't be written"),
    ],
)
def test_what_fails_gets_one_sentence_and_no_output(
    model: Path,
    tmp_path: Path,
    photograph: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    src: str,
    dst: str,
    message: str,
) -> None:
    root = tmp_path / "images"
    good = write(root / "good.png", photograph(20, 30))
    write(root / "small.png", photograph(7, 30))
    write(root / "thin.png", photograph(1, 90))
    write(root / "rgba.png", photograph(20, 30, 4))
    (root / "text.png").write_text("text")
    (root / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (root / "cut.png").write_bytes(good.read_bytes()[:-600])
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    outcome = restore(root / src, root / dst, str(model))
    assert outcome.restored == []
    assert [re.search(message, reason) is not None for _, reason in outcome.failed] == [True]
    assert re.search(f"^scn: .*{message}.*\n$", capsys.readouterr().err)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_one_bad_image_stops_no_other(model: Path, tmp_path: Path, photograph: Callable[..., Any]) -> None:
    for name in ("a", "c", "d"):
        write(tmp_path / "in" / f"{name}.png", photograph(20, 30))
    (tmp_path / "in" / "b.png").write_text("text")
    outcome = restore(tmp_path / "in", tmp_path / "out", str(model))
    assert [name for name, _ in outcome.failed] == [str(tmp_path / "in" / "b.png")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png", "d.png"]
    assert read(tmp_path / "out" / "d.png").shape == (40, 60, 3)


def test_16_bits_stay_16(photograph: Callable[..., Any]) -> None:
    image = photograph(20, 30).astype(np.uint16) * 250 + 11
    result = applied(picture(image), Brighter(), "rgb")
    assert result.pixels.dtype == np.uint16
    np.testing.assert_allclose(result.pixels, np.minimum(image + 2570.0, 65535), rtol=0, atol=1)


def test_strength_mixes_input_and_result(photograph: Callable[..., Any]) -> None:
    image = photograph(20, 30)
    results = [applied(picture(image), Brighter(), "rgb", strength=strength).pixels for strength in (0, 0.5, 1)]
    np.testing.assert_array_equal(results[0], image)
    np.testing.assert_array_equal(results[1], np.clip(image.astype(int) + 5, 0, 255))
    np.testing.assert_array_equal(results[2], np.clip(image.astype(int) + 10, 0, 255))


def test_chroma_may_be_kept(photograph: Callable[..., Any]) -> None:
    network, image = Brighter(), photograph(20, 30)
    result = applied(picture(image), network, "each", chroma="keep")
    assert network.seen[0].shape == (1, 1, 20, 30)
    np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))


def test_a_result_that_memory_can_not_hold_is_refused(
    photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, image = Brighter(), picture(photograph(20, 30))
    monkeypatch.setattr("scn.core.memory.free", lambda: 20 * 30 * 3 * 3)
    applied(image, network, "rgb", tile=400)
    monkeypatch.setattr("scn.core.memory.free", lambda: 20 * 30 * 3 * 3 - 1)
    with pytest.raises(
        UserError, match=r"^the image becomes 30x20 pixels, for which 0\.0 GiB of memory are needed and"
    ):
        applied(image, network, "rgb", tile=400)


def test_a_tile_that_is_too_large_for_memory_is_halved(photograph: Callable[..., Any]) -> None:
    class Hungry(Brighter):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] * x.shape[-2] > 200 * 200:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
            return super().forward(x)

    network, image = Hungry(), photograph(300, 310)
    result = applied(picture(image), network, "rgb", tile=400)
    assert max(max(x.shape[-2:]) for x in network.seen) <= 200
    np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))
    with pytest.raises(UserError, match=r"^the image needs more memory than there is, even in tiles of 128 pixels"):
        applied(picture(photograph(300, 310)), Insatiable(), "rgb", tile=400)


class Insatiable(nn.Module):
    """A network that no memory suffices for."""

    def forward(self, x: Tensor) -> Tensor:
        raise MemoryError


def test_an_interruption_leaves_the_old_output(
    model: Path, tmp_path: Path, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = photograph(8, 8)
    source, target = write(tmp_path / "in.png", photograph(20, 30)), write(tmp_path / "out" / "out.png", old)

    def interrupt(self: Image.Image, file: Any, *_: object, **__: object) -> None:
        file.write(b"half an image")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    assert restore(source, target, str(model)).stopped
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
    for task, message in (
        ("null", r"config\.json does not say which task the model is for"),
        (
            '"elephant"',
            r"sr-x2 holds a model that this version of scn does not know \(its task is 'elephant'\): update",
        ),
    ):
        (folder / "config.json").write_text(config.replace('"sr"', task))
        with pytest.raises(UserError, match=message):
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
    outcome = restore(source, tmp_path / "out.png", str(folder))
    assert f"{folder} gives values that are not finite for {source}: publish" in outcome.failed[0][1]
    assert not (tmp_path / "out.png").exists()


def test_every_task_says_how_colours_are_restored() -> None:
    assert set(scn.inference.restore._ON_COLOUR) == {task.on_colour for task in TASKS.values()}


def test_tiles_are_as_large_as_computes_the_fewest_pixels(
    photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scn.inference.restore, "tile_for", lambda *_: 256)

    def seen(height: int, width: int, tile: int | None, **options: int) -> int:
        network, image = Brighter(), photograph(height, width, 1)
        result = applied(picture(image), network, "rgb", tile=tile, **options)
        np.testing.assert_array_equal(result.pixels, np.clip(image.astype(int) + 10, 0, 255))
        return sum(tile.shape[-2] * tile.shape[-1] for tile in network.seen)

    assert seen(300, 310, None) == min(seen(300, 310, tile) for tile in range(256, 127, -32))
    assert seen(300, 310, None) < 0.7 * seen(300, 310, 256)  # four tiles that are nearly the whole each
    assert seen(200, 310, None) == 200 * 310  # as a whole, where memory allows
    assert seen(200, 310, None, largest_tile=192) == min(seen(200, 310, tile) for tile in (192, 160, 128))


@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (1200, 1700), (1080, 1920)])
def test_common_sizes_are_computed_half_again_at_most(height: int, width: int) -> None:
    def times(side: int) -> float:
        rows, columns = (sum(span.end - span.start for span in spans(size, side, 35)) for size in (height, width))
        return rows * columns / (height * width)

    assert times(1024) > 1.75
    assert times(economical(1024, height, width, 35)) < 1.35
