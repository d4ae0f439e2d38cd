"""Users' image files: read upright into 8 bits, or refused in one sentence; written whole."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngInfo

from scn.core.errors import UserError
from scn.imaging.formats import FORMATS, can, format_of
from scn.imaging.image_io import Photograph, decode_photograph, read_photograph, size_of, write_photograph
from scn.imaging.metadata import ORIENTATION
from scn.imaging.sixteen_bits import encode_png
from scn.imaging.tiff import encode as encode_tiff

PROFILE = bytes(36) + b"acsp" + bytes(92)
"""What passes for a colour profile."""


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


SUFFIXES = [suffix for each in FORMATS.values() if can(each) for suffix in each.suffixes]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_written(tmp_path: Path, photograph: Callable[..., Any], suffix: str) -> None:
    pixels = photograph(32, 40)
    path = tmp_path / "new" / "folder" / f"out{suffix.upper()}"
    profile = PROFILE if format_of(path).has_exif else b""
    write_photograph(path, Photograph(pixels=pixels, alpha=None, icc_profile=profile))
    with Image.open(path) as image:
        assert image.format == format_of(path).name
        assert image.info.get("icc_profile", b"") == profile
        assert np.abs(np.asarray(image).astype(int) - pixels).mean() <= (4 if format_of(path).has_quality else 0)
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


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if format_of(Path(f"a{suffix}")).longest])
def test_a_side_that_a_format_can_not_hold_is_named(tmp_path: Path, suffix: str) -> None:
    longest = format_of(Path(f"a{suffix}")).longest
    assert longest
    wide = Photograph(pixels=np.zeros((8, longest + 1, 1), np.uint8), alpha=None, icc_profile=None)
    with pytest.raises(
        UserError, match=rf"out\{suffix}: \w+ holds {longest} pixels a side, not {longest + 1}x8: write"
    ):
        write_photograph(tmp_path / f"out{suffix}", wide)
    write_photograph(tmp_path / f"out{suffix}", replace(wide, pixels=wide.pixels[:, :-1]))
    assert size_of(tmp_path / f"out{suffix}", "it") == (longest, 8)


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
        case "eps":
            path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
        case "gif":
            saved(path, grey, format="GIF")
        case "huge":  # a header that promises a terapixel, and no pixels
            saved(path, grey, format="PNG")
            data = bytearray(path.read_bytes())
            data[16:24] = (1000000).to_bytes(4, "big") * 2
            data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
            path.write_bytes(data)
        case "float":
            saved(path, grey.convert("F"), format="TIFF")
        case "animated":
            saved(path, grey, format="TIFF", save_all=True, append_images=[Image.new("L", (20, 20))])
    return path


def test_16_bits_are_read_and_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 12, 4)).astype(np.uint16)
    about = {"icc_profile": PROFILE, "dpi": (300.0, 300.0)}
    for channels in (1, 2, 3, 4):
        (tmp_path / "a.png").write_bytes(encode_png(values[..., :channels], **about))
        (tmp_path / "a.tif").write_bytes(encode_tiff(values[..., :channels], **about))
        for name in ("a.png", "a.tif"):
            read = read_photograph(tmp_path / name)
            assert read.pixels.dtype == np.uint16
            colours = 1 if channels < 3 and (name, channels) != ("a.tif", 2) else 3
            assert read.pixels.shape == (9, 12, colours)
            assert np.array_equal(read.pixels[..., 0], values[..., 0])
            assert (read.alpha is None) == (channels in (1, 3))
            if read.alpha is not None:
                assert np.array_equal(read.alpha, values[..., channels - 1])
            assert read.icc_profile == PROFILE
            assert read.dpi == pytest.approx((300, 300), abs=0.01)
            write_photograph(tmp_path / "again.png", read)
            again = read_photograph(tmp_path / "again.png")
            assert np.array_equal(again.pixels, read.pixels)
            assert again.dpi == pytest.approx((300, 300), abs=0.01)
    write_photograph(tmp_path / "eight.jpg", replace(read, alpha=None))
    assert read_photograph(tmp_path / "eight.jpg").pixels.dtype == np.uint8


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix not in (".bmp", ".heic", ".heif")])
def test_what_the_file_says_beside_the_pixels_is_kept(
    tmp_path: Path, photograph: Callable[..., Any], suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0xA002: 12, 0xA003: 9})
    exif.get_ifd(0x8825)[1] = "N"
    source = tmp_path / f"in{suffix}"
    saved(source, photograph(9, 12), exif=exif.tobytes(), dpi=(300, 300), icc_profile=PROFILE)
    read = read_photograph(source)
    assert read.pixels.shape == (12, 9, 3)
    larger = replace(read, pixels=photograph(24, 18))
    write_photograph(tmp_path / f"out{suffix}", larger)
    with Image.open(tmp_path / f"out{suffix}") as image:
        found = image.getexif()
        assert (found[0x010F], found.get(0x0112, 1)) == ("Camera", 1)
        assert found.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert (found.get_ifd(0x8769)[0xA002], found.get_ifd(0x8769)[0xA003]) == (18, 24)
        assert found.get_ifd(0x8825)[1] == "N"
        assert image.info["icc_profile"] == PROFILE
        if suffix[1] in "pjt":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


XMP = b'<x:xmpmeta><rdf:Description xmp:Rating="4" tiff:Orientation="%d"/><tiff:Orientation>%d</tiff:Orientation></x>'


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix not in (".bmp", ".heic", ".heif")])
def test_xmp_is_kept_and_calls_the_image_upright(tmp_path: Path, photograph: Callable[..., Any], suffix: str) -> None:
    about = PngInfo()
    about.add_itxt("XML:com.adobe.xmp", (XMP % (6, 6)).decode())
    exif = Image.Exif()
    exif[700] = XMP % (6, 6)
    options = {".png": {"pnginfo": about}, ".tif": {"exif": exif}, ".tiff": {"exif": exif}}
    source = saved(tmp_path / f"in{suffix}", photograph(9, 12), **options.get(suffix, {"xmp": XMP % (6, 6)}))
    read = read_photograph(source)
    assert read.xmp == XMP % (1, 1)
    deep = replace(read, pixels=read.pixels * np.uint16(257))
    for name, written in (("out.png", read), ("deep.png", deep), ("deep.tif", deep), (f"out{suffix}", read)):
        write_photograph(tmp_path / name, written)
        assert read_photograph(tmp_path / name).xmp == XMP % (1, 1)


def test_a_png_keeps_what_it_says_in_words(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    about = PngInfo()
    about.add_text("Author", "Zoë")
    about.add_text("parameters", "a cat", zip=True)
    about.add_itxt("Comment", "猫")
    read = read_photograph(saved(tmp_path / "in.png", photograph(9, 12), pnginfo=about))
    assert read.text == {"Author": "Zoë", "parameters": "a cat", "Comment": "猫"}
    for name, written in (("out.png", read), ("deep.png", replace(read, pixels=read.pixels * np.uint16(257)))):
        write_photograph(tmp_path / name, written)
        assert read_photograph(tmp_path / name).text == read.text
    write_photograph(tmp_path / "out.jpg", read)
    assert read_photograph(tmp_path / "out.jpg").text == {}


def test_a_gamma_that_is_not_that_of_srgb_is_told(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    plain = saved(tmp_path / "in.png", photograph(9, 12)).read_bytes()
    for gamma, notes in ((45455, ()), (100000, ("its gamma of 1 is left out: colours may look different",))):
        chunk = b"gAMA" + gamma.to_bytes(4, "big")
        whole = (4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        assert decode_photograph(plain[:33] + whole + plain[33:]).notes == notes


def test_a_jpeg_holds_64_kib_of_each(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    plain = Photograph(pixels=photograph(9, 12), alpha=None, icc_profile=None)
    path = tmp_path / "a.jpg"
    for size, kept in ((65502, True), (65503, False)):
        write_photograph(path, replace(plain, xmp=bytes(size)))
        assert (read_photograph(path).xmp == bytes(size)) == kept
    for size, kept in ((60000, True), (66000, False)):
        exif = Image.Exif()
        exif[0x010E] = "t" * size
        write_photograph(path, replace(plain, exif=exif.tobytes()))
        assert (read_photograph(path).exif is not None) == kept


def test_photoshops_resources_are_left_out_and_iptc_stays_in_a_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[34377], exif[33723] = bytes(100_000), b"\x1c\x02\x78\x00\x03abc"
    read = read_photograph(saved(tmp_path / "a.tif", np.zeros((9, 12, 3), np.uint8), exif=exif))
    write_photograph(tmp_path / "again.tif", read)
    with Image.open(tmp_path / "again.tif") as image:
        assert 34377 not in image.getexif()
        assert image.getexif()[33723] == b"\x1c\x02\x78\x00\x03abc"


def test_pillows_own_limit_is_no_limit_here_and_stays(
    tmp_path: Path, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    pixels = photograph(9, 12)
    for name in ("a.png", "a.tif", "a.jpg"):
        write_photograph(tmp_path / name, Photograph(pixels=pixels, alpha=None, icc_profile=None))
        assert read_photograph(tmp_path / name).pixels.shape == pixels.shape
        assert size_of(tmp_path / name, name) == (12, 9)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_jpeg_with_exif_data_and_no_resolution_has_none(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    assert read_photograph(saved(tmp_path / "a.jpg", photograph(9, 12), exif=exif)).dpi is None
    exif[0x011A], exif[0x011B], exif[0x0128] = 200.0, 200.0, 2
    assert read_photograph(saved(tmp_path / "a.jpg", photograph(9, 12), exif=exif)).dpi == (200, 200)


def test_all_eight_ways_to_hold_a_camera(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(tmp_path / "turned.png", photograph(9, 12), exif=exif)
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        assert np.array_equal(read_photograph(path).pixels, expected), orientation
        assert size_of(path, path) == expected.shape[1::-1]


def test_cmyk_is_converted_and_told(tmp_path: Path) -> None:
    colours = Image.new("RGB", (16, 16), (200, 40, 90))
    read = read_photograph(saved(tmp_path / "cmyk.jpg", colours.convert("CMYK"), quality=100))
    assert np.abs(read.pixels.astype(int) - (200, 40, 90)).max() <= 3
    assert read.notes == ("CMYK converted to RGB",)
    assert read.icc_profile is None


@pytest.mark.skipif(not features.check("libtiff"), reason="this Pillow was built without libtiff")
@pytest.mark.parametrize("compression", ["packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_tiff(tmp_path: Path, photograph: Callable[..., Any], compression: str) -> None:
    pixels = photograph(9, 12)
    assert np.array_equal(read_photograph(saved(tmp_path / "a.tif", pixels, compression=compression)).pixels, pixels)


def test_a_format_that_this_pillow_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.imaging.formats.can", lambda each: each.name == "PNG")
    (tmp_path / "a.jpg").write_bytes(b"RIFF\x10\0\0\0WEBPVP8 \0\0\0\0")
    with pytest.raises(UserError, match=r"a\.jpg is WEBP, which the installed Pillow lacks: install Pillow from PyPI"):
        read_photograph(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"out\.heic is HEIF, .* lacks: pip install 'scn\[heif\]', or use PNG"):
        write_photograph(
            tmp_path / "out.heic", Photograph(pixels=np.zeros((9, 9, 1), np.uint8), alpha=None, icc_profile=None)
        )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist: name an image"),
        ("text", "is text, and no image that can be read: give PNG"),
        ("empty", "is empty, and no image that can be read: give PNG"),
        ("truncated png", "is damaged and can't be read"),
        ("truncated jpeg", "is damaged and can't be read"),
        ("eps", "is EPS, and no image that can be read: give PNG"),
        ("gif", "is GIF, and no image that can be read: give PNG"),
        ("huge", r"has 1,000,000 megapixels, for which 11175\.9 GiB of memory are needed and .* are free: end"),
        ("float", "has floating-point pixels: save it with 16 bits per channel"),
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


def grey_png(bits: int, rows: list[bytes], width: int, clear: int) -> bytes:
    """A grey PNG of 2, 4 or 16 bits, in which the value `clear` is transparent."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + len(rows).to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, data)
        for name, data in ((b"IHDR", header), (b"tRNS", clear.to_bytes(2, "big")), (b"IDAT", pixels), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("bits", "row", "clear", "values"),
    [
        (2, bytes([0b00011011]), 2, [0, 85, 170, 255]),
        (4, bytes([0x03, 0x8F]), 15, [0, 51, 136, 255]),
        (16, b"\0\0\0\x07\x12\x34\xff\xff", 7, [0, 7, 0x1234, 65535]),
    ],
)
def test_a_value_of_grey_may_be_transparent(bits: int, row: bytes, clear: int, values: list[int]) -> None:
    photograph = decode_photograph(grey_png(bits, [row], 4, clear), "a.png")
    assert photograph.pixels[..., 0].tolist() == [values]
    place = {2: 2, 4: 3, 16: 1}[bits]
    expected = [photograph.white] * 4
    expected[place] = 0
    assert photograph.alpha is not None
    assert photograph.alpha.tolist() == [expected]


@pytest.mark.parametrize("suffix", ["webp", "avif", "jpg", "png", "tif"])
def test_the_resolution_stays_and_turns_with_the_picture(
    tmp_path: Path, photograph: Callable[..., Any], suffix: str
) -> None:
    if not can(FORMATS[suffix]):
        pytest.skip(f"this build of Pillow writes no {suffix}")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(photograph(20, 30)).save(tmp_path / "in.png", dpi=(100, 200), exif=exif)
    turned = read_photograph(tmp_path / "in.png")
    assert turned.pixels.shape == (30, 20, 3)
    assert turned.dpi == pytest.approx((200, 100), abs=0.1)
    out = tmp_path / f"out.{suffix}"
    write_photograph(out, turned)
    assert read_photograph(out).dpi == pytest.approx((200, 100), abs=0.5)


def test_a_large_profile_and_an_odd_resolution_are_no_damage(tmp_path: Path, photograph: Callable[..., Any]) -> None:
    profile = PROFILE + bytes(1_300_000)
    path = tmp_path / "a.png"
    Image.fromarray(photograph(20, 30)).save(path, icc_profile=profile, dpi=(70_000, 70_000))
    read = read_photograph(path)
    assert read.icc_profile == profile
    write_photograph(tmp_path / "a.jpg", read)
    assert read_photograph(tmp_path / "a.jpg").dpi is None
