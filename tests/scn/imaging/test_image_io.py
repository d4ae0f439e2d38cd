"""Users' image files: read upright into 8 bits, or refused in one sentence; written whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scn.core.errors import UserError
from scn.imaging.image_io import FORMATS, Photograph, read_photograph, write_photograph


def saved(path: Path, pixels: Any, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def test_grey_and_rgb_keep_their_pixels(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    rgb, grey = photograph(9, 12), photograph(9, 12, 1)
    read = read_photograph(saved(tmp_path / "rgb.png", rgb))
    assert np.array_equal(read.pixels, rgb)
    assert read.alpha is None
    read = read_photograph(saved(tmp_path / "grey.png", grey[..., 0]))
    assert np.array_equal(read.pixels, grey)


def test_transparency_is_read_apart(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    rgba = photograph(9, 12, 4)
    read = read_photograph(saved(tmp_path / "rgba.png", rgba))
    assert np.array_equal(read.pixels, rgba[..., :3])
    assert np.array_equal(read.alpha, rgba[..., 3])
    read = read_photograph(saved(tmp_path / "la.png", rgba[..., :2]))
    assert np.array_equal(read.pixels[..., 0], rgba[..., 0])
    assert np.array_equal(read.alpha, rgba[..., 1])


def test_palettes_and_bilevel_images_are_converted(tmp_path: Path) -> None:
    indices = np.array([[0, 1], [1, 2]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expected = np.eye(3, dtype=np.uint8)[indices] * 255
    assert np.array_equal(read_photograph(saved(tmp_path / "p.png", image)).pixels, expected)
    see_through = read_photograph(saved(tmp_path / "t.png", image, transparency=1))
    assert np.array_equal(see_through.alpha, [[255, 0], [0, 255]])
    bilevel = Image.fromarray(np.eye(4, dtype=np.uint8) * 255).convert("1")
    assert np.array_equal(read_photograph(saved(tmp_path / "1.png", bilevel)).pixels[..., 0], np.eye(4) * 255)


def test_the_camera_was_held_upright(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    pixels = photograph(9, 12)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    read = read_photograph(saved(tmp_path / "turned.png", pixels, exif=exif))
    assert np.array_equal(read.pixels, np.rot90(pixels, -1))


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_format_is_written(tmp_path: Path, photograph: Callable[..., Any], suffix: str) -> None:
    pixels = photograph(32, 40)
    path = tmp_path / "new" / "folder" / f"out{suffix.upper()}"
    profile = b"" if suffix == ".bmp" else b"profile"
    write_photograph(path, Photograph(pixels=pixels, alpha=None, icc_profile=profile))
    with Image.open(path) as image:
        assert image.format == FORMATS[suffix][0]
        assert image.info.get("icc_profile", b"") == profile
        assert np.abs(np.asarray(image).astype(int) - pixels).mean() <= (4 if suffix.startswith(".j") else 0)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_transparency_is_written_where_it_can_be(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    pixels = photograph(9, 12, 4)
    for colours in (1, 3):
        picture = Photograph(pixels=pixels[..., :colours], alpha=pixels[..., 3], icc_profile=None)
        write_photograph(tmp_path / "out.png", picture)
        again = read_photograph(tmp_path / "out.png")
        assert np.array_equal(again.pixels, picture.pixels)
        assert np.array_equal(again.alpha, picture.alpha)
    with pytest.raises(UserError, match=r"out\.jpg: JPEG can't hold the transparency of this image: write a \.png"):
        write_photograph(tmp_path / "out.jpg", picture)
    assert not (tmp_path / "out.jpg").exists()


def unsuitable(kind: str, path: Path) -> Path:
    grey = Image.fromarray(np.full((20, 20), 90, np.uint8))
    match kind:
        case "text":
            path.write_text("no image")
        case "empty":
            path.write_bytes(b"")
        case "truncated png" | "truncated jpeg":
            noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
            saved(path, noise, format=kind.split()[1].upper())
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case "16-bit grey":
            saved(path, np.full((20, 20), 9000, np.uint16), format="PNG")
        case "16-bit rgb":
            # Pillow does not write it: a TIFF with 3 samples of 16 bits
            path.write_bytes(tiff_16_bit_rgb())
        case "cmyk":
            saved(path, grey.convert("CMYK"), format="JPEG")
        case "float":
            saved(path, grey.convert("F"), format="TIFF")
        case "animated":
            saved(path, grey, format="GIF", save_all=True, append_images=[Image.new("L", (20, 20))])
    return path


def tiff_16_bit_rgb() -> bytes:
    """A 2x1 TIFF, 16 bits per sample, uncompressed."""
    entries = [
        (256, 3, 1, 2),
        (257, 3, 1, 1),
        (258, 3, 3, 8 + 2 + 9 * 12 + 4),  # bits per sample: at the end
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 9 * 12 + 4 + 6),
        (277, 3, 1, 3),
        (278, 3, 1, 1),
        (279, 4, 1, 12),
    ]
    data = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        data += tag.to_bytes(2, "little") + kind.to_bytes(2, "little")
        data += count.to_bytes(4, "little") + value.to_bytes(4, "little")
    return data + bytes(4) + b"\x10\0" * 3 + bytes(range(12))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist: name an image"),
        ("text", "is no image that can be read: give PNG"),
        ("empty", "is no image that can be read: give PNG"),
        ("truncated png", "is damaged and can't be read"),
        ("truncated jpeg", "is damaged and can't be read"),
        ("16-bit grey", "has 16-bit pixels: convert it to 8-bit"),
        ("16-bit rgb", "has 16-bit pixels: convert it to 8-bit"),
        ("cmyk", "has CMYK pixels: convert it to 8-bit"),
        ("float", "has F pixels: convert it to 8-bit"),
        ("animated", "holds several pictures: save the one"),
    ],
)
def test_unsuitable_files_are_named_in_one_sentence(tmp_path: Path, kind: str, message: str) -> None:
    path = unsuitable(kind, tmp_path / "photograph")
    with pytest.raises(UserError, match=message) as caught:
        read_photograph(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_what_can_not_be_written(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    picture = Photograph(pixels=photograph(9, 12), alpha=None, icc_profile=None)
    with pytest.raises(UserError, match=r"out\.xyz names no format that can be written: end its name in one of \.png,"):
        write_photograph(tmp_path / "out.xyz", picture)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out\.png can't be written \(.*\): name a file in a folder"):
        write_photograph(tmp_path / "file" / "out.png", picture)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
