"""TIFF: every layout of 16 bits per channel is read to the value, or refused in one sentence; what is written."""

import io
import lzma
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from scn.core.errors import UserError
from scn.imaging import tiff
from scn.imaging.formats import FORMATS
from scn.imaging.image_io import Photograph, decode_photograph, encode_photograph, read_photograph, size_of

needs_libtiff = pytest.mark.skipif(not features.check("libtiff"), reason="this Pillow was built without libtiff")


def values(channels: int, height: int = 19, width: int = 23) -> Any:
    return np.random.default_rng(channels).integers(0, 65536, (height, width, channels)).astype(np.uint16)


def written(pixels: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def lzw(data: bytes) -> bytes:
    """What LZW makes of data, without finding anything to shorten: a clear code before codes get longer."""
    bits = ""
    for at, byte in enumerate(data):
        bits += ("100000000" if at % 200 == 0 else "") + f"{byte:09b}"
    bits += "100000001"
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def packed(
    pixels: Any,
    order: str,
    planar: bool,
    tile: int,
    predictor: int,
    compression: int = 5,
    pack: Callable[[bytes], bytes] = lzw,
) -> bytes:
    """A TIFF of 16-bit RGB in LZW or another compression, in strips of 4 rows or in square tiles."""
    height, width, _ = pixels.shape
    sides = (tile, tile) if tile else (4, width)
    planes = [pixels[..., channel : channel + 1] for channel in range(3)] if planar else [pixels]
    parts = []
    for plane in planes:
        for top in range(0, height, sides[0]):
            for left in range(0, width, sides[1]):
                part = plane[top : top + sides[0], left : left + sides[1]]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
                if predictor == 2:
                    part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1)
                parts.append(pack(part.astype(order + "u2").tobytes()))
    places = (322, 323, 324, 325) if tile else (277, 278, 273, 279)
    tags = {
        256: [width],
        257: [height],
        258: [16] * 3,
        259: [compression],
        262: [2],
        277: [3],
        284: [2 if planar else 1],
    }
    tags |= {317: [predictor], 339: [1] * 3}
    tags |= {322: [tile], 323: [tile]} if tile else {278: [4]}
    tags |= {places[2]: [0] * len(parts), places[3]: [len(part) for part in parts]}
    behind = 8 + 2 + 12 * len(tags) + 4
    offset = behind + sum(4 * len(each) for each in tags.values() if len(each) > 1)
    tags[places[2]] = [offset + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries, more = b"", b""
    for tag, numbers in sorted(tags.items()):
        stored = struct.pack(f"{order}{len(numbers)}I", *numbers)
        where = stored if len(numbers) == 1 else struct.pack(order + "I", behind + len(more))
        more += stored if len(numbers) > 1 else b""
        entries += struct.pack(order + "HHI", tag, 4, len(numbers)) + where
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(tags))
    return start + entries + bytes(4) + more + b"".join(parts)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_every_layout_of_16_bits_is_read(planar: bool, compression: str | None, tile: Any) -> None:
    pixels = values(3)
    shaped = np.moveaxis(pixels, 2, 0).copy() if planar else pixels
    for order in "<>":
        data = written(
            shaped,
            photometric="rgb",
            planarconfig="separate" if planar else "contig",
            compression=compression,
            predictor=compression == "zlib",
            byteorder=order,
            tile=tile,
            **({} if tile else {"rowsperstrip": 4}),
        )
        assert np.array_equal(decode_photograph(data).pixels, pixels)


@needs_libtiff
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("predictor", [1, 2])
def test_lzw_of_16_bits_is_read(order: str, planar: bool, tile: int, predictor: int) -> None:
    pixels = values(3)
    data = packed(pixels, order, planar, tile, predictor)
    assert np.array_equal(decode_photograph(data).pixels, pixels)
    with pytest.raises(UserError, match="is damaged and can't be read"):
        decode_photograph(data[:-40])


PACKINGS: dict[int, Callable[[bytes], bytes]] = {
    8: zlib.compress,
    34925: lambda data: lzma.compress(data, preset=0),  # a small dictionary: it counts, too
    32773: lambda data: b"".join(bytes([0, byte]) for byte in data[: -(2**23)]) + b"\x81\0" * 2**16,
}


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("compression", PACKINGS)
def test_no_more_is_unpacked_than_pixels_take(compression: int, tile: int) -> None:
    pixels, more = values(3), bytes(2**23)
    data = packed(pixels, "<", False, tile, 1, compression, lambda part: PACKINGS[compression](part + more))
    no_checksum = compression == 32773

    def read() -> None:
        if no_checksum:
            assert np.array_equal(decode_photograph(data).pixels, pixels)
            return
        with pytest.raises(UserError, match="the pixels end too early, or too late"):
            decode_photograph(data)

    read()  # what is imported at first is no part of the peak
    tracemalloc.start()
    try:
        read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21


@needs_libtiff
def test_a_tile_that_no_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(values(3), "<", False, 16, 1)
    for side in (322, 323):
        data = data.replace(struct.pack("<HHII", side, 4, 1, 16), struct.pack("<HHII", side, 4, 1, 3000))
    monkeypatch.setattr("scn.core.memory.free", lambda: 10**8)
    with pytest.raises(
        UserError, match=r"^the image has parts of 9 megapixels, for which 0\.2 GiB of memory are needed"
    ):
        decode_photograph(data)


def test_grey_whose_white_is_0() -> None:
    grey = values(1)[..., 0]
    read = decode_photograph(written(65535 - grey, photometric="miniswhite"))
    assert np.array_equal(read.pixels[..., 0], grey)


def test_colours_that_alpha_was_multiplied_into() -> None:
    colours, alpha = values(3), values(1)
    alpha[0, :3, 0] = 0, 65535, 300
    multiplied = np.rint(colours * (alpha / 65535)).astype(np.uint16)
    read = decode_photograph(
        written(np.concatenate([multiplied, alpha], -1), photometric="rgb", extrasamples=["assocalpha"])
    )
    assert read.alpha is not None
    assert np.array_equal(read.alpha, alpha[..., 0])
    solid = alpha[..., 0] > 20000
    assert np.abs(read.pixels.astype(int) - colours)[solid].max() <= 2
    assert read.pixels[0, 0].max() == 0
    straight = written(np.concatenate([colours, alpha], -1), photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(decode_photograph(straight).pixels, colours)


def test_8_bits_that_alpha_was_multiplied_into() -> None:
    pixels = np.full((9, 9, 4), (100, 50, 0, 128), np.uint8)
    read = decode_photograph(written(pixels, photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(read.pixels[0, 0].astype(int) - (199, 100, 0)).max() <= 1


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_alpha_of_8_bits_in_layouts_that_pillow_does_not_know(compression: str | None, tile: Any) -> None:
    pixels = values(5).astype(np.uint8)
    stored = {"compression": compression, "tile": tile}
    planes = np.moveaxis(pixels[..., :4], 2, 0).copy()
    separate = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    read = decode_photograph(written(planes, **separate, **stored))
    assert np.array_equal(read._all(), pixels[..., :4])
    grey = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["assocalpha"]}
    half = np.full((9, 9, 2), (50, 128), np.uint8)
    assert decode_photograph(written(half, **grey, **stored))._all()[0, 0].tolist() == [100, 128]
    grey |= {"photometric": "miniswhite", "extrasamples": ["unassalpha"]}
    assert decode_photograph(written(half, **grey, **stored))._all()[0, 0].tolist() == [205, 128]
    inks = {"photometric": "separated", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    read = decode_photograph(written(pixels, **inks, **stored))
    assert read.alpha is not None
    assert np.array_equal(read.alpha, pixels[..., 4])
    assert np.array_equal(read.pixels, np.asarray(Image.fromarray(pixels[..., :4].copy(), "CMYK").convert("RGB")))
    assert read.notes == ("CMYK converted to RGB",)


def test_grey_with_alpha_and_channels_that_are_neither() -> None:
    two = values(2)
    read = decode_photograph(written(two, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"))
    assert read.alpha is not None
    assert np.array_equal(read.pixels[..., 0], two[..., 0])
    assert np.array_equal(read.alpha, two[..., 1])
    four = values(4)
    read = decode_photograph(written(four, photometric="rgb", extrasamples=["unspecified"]))
    assert np.array_equal(read.pixels, four[..., :3])
    assert read.alpha is None
    assert read.notes == ("1 of its channels left out, as neither colours nor alpha",)


def test_inks_of_16_bits_become_rgb_of_8() -> None:
    inks = np.zeros((9, 9, 4), np.uint16)
    inks[..., 1] = 65535
    read = decode_photograph(written(inks, photometric="separated"))
    assert read.pixels.dtype == np.uint8
    assert read.pixels[0, 0].tolist() == [255, 0, 255]
    assert read.notes == ("CMYK of 16 bits converted to RGB of 8",)


def test_bigtiff_is_read_without_exif_data(photograph: Callable[..., Any]) -> None:
    for pixels in (values(3), photograph(9, 12)):
        read = decode_photograph(written(pixels, photometric="rgb", bigtiff=True, description="a note"))
        assert np.array_equal(read.pixels, pixels)
        assert read.exif is None
        assert read.notes == ("its EXIF data can't be copied and is left out",)
    plain = written(values(3), photometric="rgb", bigtiff=True, metadata=None, software=False)
    assert decode_photograph(plain).notes == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (written(values(3).astype(np.float32), photometric="rgb"), "floating-point pixels: save it with 16 bits"),
        (written(values(1)[..., 0].astype(np.int16)), "has signed values of 16 bits: save it with 8 or 16 unsigned"),
        (written(values(3).astype(np.uint32), photometric="rgb"), "has values of 32 bits: save it with 8 or 16 unsig"),
        (written(values(3), photometric="cielab"), "has colours of the kind CIELAB: convert it to grey or RGB first"),
        (
            written(values(3).astype(np.uint8), photometric="ycbcr", rowsperstrip=8) + bytes(3144),
            "has colours of the kind YCBCR: convert it to grey or RGB first",
        ),
        (written(values(3), photometric="rgb")[:-500], "is damaged and can't be read"),
        (written(values(3), photometric="rgb", compression="zlib")[:-500], "the pixels end too early"),
        (written(np.stack([values(3)] * 2), photometric="rgb"), "holds several pictures: save the one"),
        (b"II*\0\x08\0\0\0\0\0", "is a TIFF, but holds no picture that can be read"),
    ],
)
def test_what_is_refused_in_one_sentence(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        decode_photograph(data, "scan.tif")
    assert str(caught.value).startswith("scan.tif ")
    assert "\n" not in str(caught.value)


@needs_libtiff
def test_luma_and_chroma_are_read_where_they_are_packed(photograph: Callable[..., Any]) -> None:
    pixels = photograph(9, 12)
    stored = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    read = decode_photograph(written(stored, photometric="ycbcr", compression="zlib"))
    assert np.abs(read.pixels.astype(int) - pixels).max() <= 4


def test_a_compression_that_is_not_read_is_named() -> None:
    data = bytearray(written(values(3), photometric="rgb"))
    at = data.index(struct.pack("<HHII", 259, 3, 1, 1))
    struct.pack_into("<I", data, at + 8, 34712)
    with pytest.raises(UserError, match="is compressed by JPEG2000, which is not read with 16 bits: save it with LZW"):
        decode_photograph(bytes(data))


@pytest.mark.parametrize("deep", [False, True])
def test_previews_are_no_pictures(tmp_path: Path, deep: bool) -> None:
    pixels = values(3) if deep else values(3).astype(np.uint8)
    small, path = pixels[::4, ::4], tmp_path / "a.tif"
    for first in (False, True):
        with tifffile.TiffWriter(path) as file:
            for page in (small, pixels) if first else (pixels, small):
                file.write(page, photometric="rgb", subfiletype=int(page is small))
        assert np.array_equal(read_photograph(path).pixels, pixels)
        assert size_of(path, path) == (23, 19)
    with tifffile.TiffWriter(path) as file:  # as cameras' raw files are
        file.write(small, photometric="rgb", subfiletype=1, subifds=1)
        file.write(pixels, photometric="rgb")
    with pytest.raises(UserError, match=r"a\.tif holds previews only where pictures are, .* develop it"):
        read_photograph(path)
    tifffile.imwrite(path, pixels, photometric="rgb", subfiletype=1)
    assert np.array_equal(read_photograph(path).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_size_is_that_of_the_upright_picture(tmp_path: Path, dtype: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values(3).astype(dtype), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert read_photograph(path).pixels.shape == (23, 19, 3)
    assert size_of(path, path) == (19, 23)


def test_nothing_is_told_beside_the_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="is a TIFF, but holds no picture"):
        decode_photograph(b"II*\0\x08\0\0\0\0\0")
    whole = encode_photograph(Photograph(pixels=values(3), alpha=None, icc_profile=None), FORMATS["png"])
    for data in (whole[:-300], whole[:-12], whole[:400] + bytes(9) + whole[409:]):
        with pytest.raises(UserError, match="is damaged and can't be read") if data != whole[:-12] else nullcontext():
            decode_photograph(data)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["II", "MM"])
def test_what_is_written(dtype: Any, order: str) -> None:
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F], exif[0x011A], exif[0x9C9B] = "Camera of a maker", 72.0, b"t\0i\0t\0l\0e\0"
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0x829A: 0.01})
    exif.get_ifd(0x8825).update({1: "N", 2: (50.0, 30.0, 0.0)})
    for channels in (1, 2, 3, 4):
        pixels = values(channels).astype(dtype)
        data = tiff.encode(pixels, icc_profile=bytes(200), dpi=(300.0, 300.0), exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
        assert data.startswith(order.encode())
        stored = tifffile.TiffFile(io.BytesIO(data)).pages[0]
        assert stored.compression == 8
        expected = pixels[..., [0, 0, 0, 1]] if (channels, dtype) == (2, np.uint16) else pixels
        assert np.array_equal(stored.asarray().reshape(expected.shape), expected)
        found = Image.Exif()
        found.load_from_fp(io.BytesIO(data))
        assert (found[0x010F], found[0x011A], found[700]) == ("Camera of a maker", 300.0, b"<x:xmpmeta/>")
        assert found[0x9C9B] == b"t\0i\0t\0l\0e\0"
        assert dict(found.get_ifd(0x8769)) == {0x9003: "2020:01:01 00:00:00", 0x829A: 0.01}
        assert dict(found.get_ifd(0x8825)) == {1: "N", 2: (50.0, 30.0, 0.0)}
        read = decode_photograph(data)
        assert np.array_equal(read.pixels[..., 0], pixels[..., 0])
        assert (read.icc_profile, read.dpi, read.xmp) == (bytes(200), (300.0, 300.0), b"<x:xmpmeta/>")


def test_no_resolution_stays_none(photograph: Callable[..., Any]) -> None:
    for pixels in (values(3), photograph(9, 12)):
        for options in ({}, {"resolution": (1, 1), "resolutionunit": "INCH"}):
            assert decode_photograph(written(pixels, photometric="rgb", **options)).dpi is None
    centimetres = written(values(3), photometric="rgb", resolution=(100, 100), resolutionunit="CENTIMETER")
    assert decode_photograph(centimetres).dpi == pytest.approx((254, 254))


@pytest.mark.parametrize(("code", "pack"), [(8, zlib.compress), (34925, lzma.compress)])
def test_what_follows_the_pixels_of_a_strip_is_read_for_its_checksum(code: int, pack: Callable[[bytes], bytes]) -> None:
    filled_up = pack(bytes(range(200)) + bytes(100))
    assert tiff._unpacked_here(filled_up, code, 200) == bytes(range(200))
    damaged = bytearray(filled_up)
    damaged[-2 if code == 8 else -30] ^= 255
    for packed in (bytes(damaged), filled_up[:-12], pack(bytes(1000))):
        with pytest.raises((ValueError, zlib.error, lzma.LZMAError)):
            tiff._unpacked_here(packed, code, 200)
