"""`data-prep degrade` writes the bits that scn.imaging.degradation makes, under the originals' names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_folder import SIZES, picture
from PIL import Image

import data_prep.degrade
from scn.corpora.images import PALETTE
from scn.imaging.degradation import bicubic_downscale, bicubic_upscale, evaluation_noise, jpeg, modcrop, to_channels

Cli = Callable[..., tuple[int, str, str]]
SET5 = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "Set5"


@pytest.fixture
def originals(project: Path) -> dict[str, np.ndarray]:
    """The photographs of the folder `photos` by name without suffix; `c` is grey."""
    return {
        str(Path(name).with_suffix("")): np.asarray(Image.open(project / "photos" / name)) for name in sorted(SIZES)
    }


def written(folder: str, suffix: str) -> dict[str, np.ndarray]:
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} == {suffix}
    return {path.relative_to(folder).with_suffix("").as_posix(): np.asarray(Image.open(path)) for path in paths}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, image in expected.items():
        assert found[name].dtype == image.dtype
        np.testing.assert_array_equal(found[name], image, err_msg=name)


def test_super_resolution(originals: dict[str, np.ndarray], run_cli: Cli) -> None:
    status, out, err = run_cli("degrade", "photos", "lr", "--experiment", "sr-x4")
    assert (status, err) == (0, "")
    assert out.startswith("sr-x4: 5 images degraded into lr, 0 left out, ")
    expected = {name: bicubic_downscale(modcrop(image, 4), 4) for name, image in originals.items()}
    assert expected["c"].shape == (16, 8)
    assert expected["sub/d"].shape == (12, 9, 3)
    assert_equal(written("lr", ".png"), expected)


def test_jpeg(originals: dict[str, np.ndarray], run_cli: Cli) -> None:
    assert run_cli("degrade", "photos", "out/car", "--experiment", "car-q10")[0] == 0
    expected = {name: jpeg(to_channels(image, "luma"), 10) for name, image in originals.items()}
    assert_equal(written("out/car", ".png"), expected)


@pytest.mark.parametrize("seed", [0, 7])
def test_noise(originals: dict[str, np.ndarray], run_cli: Cli, seed: int) -> None:
    """The result is float32 and unclipped, with the noise of evaluation for the image's name in its corpus."""
    assert run_cli("degrade", "photos", "dn", "--experiment", "dn-s25", "--seed", str(seed))[0] == 0
    names = {str(Path(name).with_suffix("")): name for name in SIZES}
    expected = {}
    for name, image in originals.items():
        grey = to_channels(image, "grey")
        expected[name] = grey + evaluation_noise(names[name], grey.shape, 25, seed)
    found = written("dn", ".tif")
    assert_equal(found, expected)
    assert min(image.min() for image in found.values()) < 0
    assert {image.dtype for image in found.values()} == {np.dtype(np.float32)}


def test_what_cannot_be_used_is_named_and_the_others_are_written(project: Path, run_cli: Cli) -> None:
    Path("photos/bad.png").write_text("text")
    Image.fromarray(picture(0, 3, 40)).save("photos/thin.png")
    Image.fromarray(picture(0, 40, 40)).quantize(16).save("photos/palette.png")
    Path("lr").mkdir()
    Path("lr/a.png").write_text("what an earlier run wrote")
    status, out, err = run_cli("degrade", "photos", "lr", "--experiment", "sr-x4")
    assert status == 1
    assert out.startswith(f"sr-x4: 6 images degraded into lr (1 {PALETTE}), 2 left out, ")
    assert out.count("\n") == 1
    bad, thin, end = err.splitlines()
    assert bad.startswith("data-prep: photos/bad.png is no image")
    why = "of 40x3 pixels nothing is left at scale 4"
    assert thin == f"data-prep: photos/thin.png can't be degraded for sr-x4 ({why}): take it out of the folder."
    assert end == "data-prep: 2 images of photos were left out: see the sentences above, then run it again."
    with Image.open("lr/a.png") as image:
        assert image.size == (13, 10)
    assert sorted(path.name for path in Path("lr").iterdir()) == ["a.png", "c.png", "e.png", "palette.png", "sub"]


def test_an_image_that_memory_does_not_suffice_for_is_left_out(
    project: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = data_prep.degrade.degrade, iter(range(100))

    def failing(*given: Any) -> Any:
        if next(calls) == 0:
            raise MemoryError
        return real(*given)

    monkeypatch.setattr("data_prep.degrade.degrade", failing)
    status, out, err = run_cli("degrade", "photos", "lr", "--experiment", "sr-x4")
    assert status == 1
    assert out.startswith("sr-x4: 4 images degraded into lr, 1 left out, ")
    assert err.startswith("data-prep: Memory does not suffice for the pixels of photos/a.png: end other programs, do")


MISTAKES = {
    "equal": (("photos", "photos"), "photos and photos lie in one another: name a folder beside it"),
    "out in in": (("photos", "photos/lr"), "photos/lr and photos lie in one another"),
    "in in out": (("photos/sub", "photos"), "photos and photos/sub lie in one another"),
    "absent": (("nowhere", "lr"), "The folder nowhere does not exist: name one with images."),
    "empty": (("empty", "lr"), "The folder empty holds no image: put images there or name another one."),
    "collision": (("twice", "lr"), "a.bmp and a.png in twice would both become a.png: rename one of them."),
    "store": (("photos", "s3://bucket/lr"), "OUT_DIR: s3://bucket/lr is no path on this machine: name a folder here."),
    "blocked": (("photos", "file"), "file/a.png can't be written (Not a directory)"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_one_sentence_and_nothing_is_written(project: Path, run_cli: Cli, what: str) -> None:
    (folder, output), expected = MISTAKES[what]
    Path("empty").mkdir()
    Path("twice").mkdir()
    for name in ("a.bmp", "a.png"):
        Image.fromarray(picture(0, 20, 20)).save(Path("twice", name))
    Path("file").write_text("")
    before = sorted(Path().rglob("*"))
    status, out, err = run_cli("degrade", folder, output, "--experiment", "sr-x4")
    assert (status, out) == (1, "")
    assert err.startswith(f"data-prep: {expected}")
    assert err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.skipif(not SET5.is_dir(), reason="the corpus Set5 is not here (../shared/corpora)")
@pytest.mark.parametrize(("scale", "printed"), [(2, 33.66), (4, 28.42)])
def test_set5_has_the_printed_psnr(project: Path, run_cli: Cli, scale: int, printed: float) -> None:
    """The SCN paper prints it in table 1, row "Bicubic"."""
    from scn.evaluation.protocols import measure, protocol

    assert run_cli("degrade", str(SET5), "lr", "--experiment", f"sr-x{scale}")[0] == 0
    figures = []
    for name, lr in written("lr", ".png").items():
        hr = modcrop(np.asarray(Image.open(SET5 / f"{name}.png")), scale)
        figures.append(measure(bicubic_upscale(lr, scale), hr, protocol("sr-y-v1"), scale).psnr)
    assert len(figures) == 5
    assert np.mean(figures) == pytest.approx(printed, abs=0.02)
