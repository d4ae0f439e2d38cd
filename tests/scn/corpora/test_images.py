"""Image files of every kind: read as they are, converted and counted, or refused in one sentence."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from scn.core.errors import UserError
from scn.corpora.images import (
    BILEVEL,
    EXPANDED,
    OPAQUE,
    PALETTE,
    PROFILE,
    ROTATED,
    Header,
    decode,
    found_pillow,
    profile_to_drop,
    read_header,
)

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[..., 0].copy()
PATH = Path("folder/some.png")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("pixels", [RGB, GREY])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_grey_and_rgb_stay_as_they_are(pixels: np.ndarray, kind: str) -> None:
    decoded, conversions = decode(encoded(Image.fromarray(pixels), kind), PATH)
    np.testing.assert_array_equal(decoded, pixels)
    assert conversions == []


def test_palettes_become_rgb_or_grey() -> None:
    coloured = Image.fromarray(RGB).quantize(16)
    decoded, conversions = decode(encoded(coloured), PATH)
    np.testing.assert_array_equal(decoded, np.asarray(coloured.convert("RGB")))
    assert conversions == [PALETTE]

    levels = Image.fromarray(GREY // 128 * 100).convert("P")
    decoded, conversions = decode(encoded(levels), PATH)
    np.testing.assert_array_equal(decoded, GREY // 128 * 100)
    assert conversions == [PALETTE]

    decoded, conversions = decode(encoded(Image.fromarray(GREY > 127)), PATH)
    np.testing.assert_array_equal(decoded, np.where(GREY > 127, 255, 0))
    assert conversions == [BILEVEL]


@pytest.mark.parametrize(("shift", "depth"), [(4, 4), (6, 2)])
def test_fewer_than_8_bits_are_spread_over_the_range(shift: int, depth: int) -> None:
    data = png(30, 20, depth, 0, [packed(row >> shift, depth) for row in GREY])
    decoded, conversions = decode(data, PATH)
    np.testing.assert_array_equal(decoded, (GREY >> shift) * (255 // (2**depth - 1)))
    assert conversions == [EXPANDED]


def packed(row: np.ndarray, depth: int) -> bytes:
    """Packs numbers of `depth` bits into bytes, the first in the highest bits."""
    bits = np.unpackbits(row[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def test_a_bmp_of_16_bits_per_pixel_has_fewer_than_8_per_channel() -> None:
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 54, 40, 2, 1, 1, 16, 0, 0, 0, 0, 0, 0)
    decoded, conversions = decode(header + struct.pack("<HH", 0x7FFF, 0x001F), PATH)
    np.testing.assert_array_equal(decoded, [[[255, 255, 255], [0, 0, 255]]])
    assert conversions == [EXPANDED]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_rotation_is_applied_and_counted(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    upright = decode(encoded(Image.fromarray(RGB), kind), PATH)[0]
    turned = encoded(Image.fromarray(RGB), kind, exif=exif)
    decoded, conversions = decode(turned, PATH)
    np.testing.assert_array_equal(decoded, np.rot90(upright, -1))
    assert conversions == [ROTATED]
    assert read_header(turned, PATH) == Header(width=20, height=30, mode="RGB", refused=None)

    for upright_already in (1, 9):
        exif[0x0112] = upright_already
        assert decode(encoded(Image.fromarray(RGB), kind, exif=exif), PATH)[1] == []


def test_exif_rotation_is_found_behind_the_pixels_too() -> None:
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data = encoded(Image.fromarray(RGB))
    data = data[:-12] + chunk(b"eXIf", exif) + data[-12:]
    decoded, conversions = decode(data, PATH)
    np.testing.assert_array_equal(decoded, np.rot90(RGB, -1))
    assert conversions == [ROTATED]
    assert read_header(data, PATH) == Header(width=20, height=30, mode="RGB", refused=None)


def opaque_palette() -> bytes:
    return encoded(Image.fromarray(RGB).quantize(8), transparency=b"\xff" * 8)


@pytest.mark.parametrize(
    ("data", "expected", "others"),
    [
        (encoded(Image.fromarray(RGB).convert("RGBA")), RGB, []),
        (encoded(Image.fromarray(GREY).convert("LA")), GREY, []),
        (encoded(Image.fromarray(RGB).convert("RGBA"), "TIFF"), RGB, []),
        (encoded(Image.fromarray(RGB), transparency=(1, 2, 3)), RGB, []),  # a colour that no pixel has
        (encoded(Image.fromarray(GREY | 1), transparency=0), GREY | 1, []),
        (encoded(Image.fromarray(GREY > 300), transparency=255), GREY * 0, [BILEVEL]),
        (opaque_palette(), np.asarray(Image.fromarray(RGB).quantize(8).convert("RGB")), [PALETTE]),
    ],
)
def test_alpha_that_is_opaque_everywhere_is_dropped_and_counted(
    data: bytes, expected: np.ndarray, others: list[str]
) -> None:
    decoded, conversions = decode(data, PATH)
    np.testing.assert_array_equal(decoded, expected)
    assert conversions == [OPAQUE, *others]
    assert read_header(data, PATH).refused is None


def test_profiles_are_dropped_and_counted_unless_they_are_srgb_or_grey() -> None:
    for profile in (profile_v2("sRGB IEC61966-2.1"), profile_v4("sRGB built-in"), profile_v2("Gray Gamma 2.2"), b""):
        decoded, conversions = decode(encoded(Image.fromarray(RGB), icc_profile=profile), PATH)
        np.testing.assert_array_equal(decoded, RGB)
        assert conversions == []
    for profile, name in (
        (profile_v2("Adobe RGB (1998)"), "Adobe RGB (1998)"),
        (profile_v4("Display P3"), "Display P3"),
        (profile_v2("with\na line"), "with a line"),
        (profile_v2("x" * 100), "x" * 60),
        (b"\xff" * 200, "without a name"),
        (b"short", "without a name"),
    ):
        for kind in ("PNG", "JPEG", "TIFF"):
            upright = decode(encoded(Image.fromarray(RGB), kind), PATH)[0]
            decoded, conversions = decode(encoded(Image.fromarray(RGB), kind, icc_profile=profile), PATH)
            np.testing.assert_array_equal(decoded, upright)
            assert conversions == [PROFILE.format(name)]


def profile_v2(name: str) -> bytes:
    return profile(b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + b"\0")


def profile_v4(name: str) -> bytes:
    text = name.encode("utf-16-be")
    return profile(b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(text), 28) + text)


def profile(description: bytes) -> bytes:
    """The parts of an ICC profile that say its name."""
    tags = struct.pack(">I4sII4sII", 2, b"cprt", 0, 0, b"desc", 156, len(description))
    return b"\0" * 128 + tags + description


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow is built without lcms")
def test_a_profile_that_lcms_makes_is_read() -> None:
    from PIL import ImageCms

    assert profile_to_drop(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()) == ""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour_type: int, rows: list[bytes], *others: bytes) -> bytes:
    """A PNG of a kind that Pillow can read and not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + pixels + chunk(b"IEND", b"")


def transparent_palette() -> bytes:
    return encoded(Image.fromarray(RGB).quantize(8), transparency=0)


def alpha(mode: str, value: int) -> Image.Image:
    """An image with one pixel that is not opaque."""
    image = Image.fromarray(RGB).convert(mode)
    image.putpixel((7, 5), (*[0] * (len(mode) - 1), value))
    return image


def tiff(photometric: int, bits: int, channels: int, sample_format: int, planar: int = 1) -> bytes:
    """A TIFF of 4x4 pixels of a kind that Pillow can read and not write."""
    size = 16 * channels * bits // 8
    tags = [
        (256, 3, 1, 4),
        (257, 3, 1, 4),
        *(((258, 3, 1, bits),) if channels == 1 else ((258, 3, channels, 8 + size),)),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 3, 1, 4),
        (279, 4, 1, size),
        (284, 3, 1, planar),
        (339, 3, 1, sample_format),
    ]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = 8 + size + 2 * channels
    pixels = bytes(range(48))[:16] * (size // 16)
    head = struct.pack("<2sHI", b"II", 42, start) + pixels + struct.pack("<H", bits) * channels
    return head + struct.pack("<H", len(tags)) + directory + bytes(4)


BAD = {
    "alpha": (encoded(alpha("RGBA", 254)), "has an alpha channel with transparent parts: flatten it"),
    "grey with alpha": (encoded(alpha("LA", 0)), "has an alpha channel with transparent parts: flatten it"),
    "transparent palette": (transparent_palette(), "has transparent parts: flatten it"),
    "transparent colour": (encoded(Image.fromarray(RGB), transparency=tuple(RGB[3, 4])), "has transparent parts"),
    "transparent grey": (encoded(Image.fromarray(GREY), transparency=int(GREY[3, 4])), "has transparent parts"),
    "transparent black": (encoded(Image.fromarray(GREY > 9), transparency=0), "has transparent parts"),
    "transparent grey of 4 bits": (
        png(30, 20, 4, 0, [packed(row >> 4, 4) for row in GREY], chunk(b"tRNS", b"\0\x0f")),
        "has transparent parts",
    ),
    "CMYK": (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "is CMYK: convert it to RGB"),
    "16-bit grey": (encoded(Image.fromarray(GREY.astype(np.uint16) * 257)), "has more than 8 bits"),
    "16-bit colours": (png(4, 4, 16, 2, [bytes(range(24))] * 4), "has more than 8 bits per channel: save it as 8"),
    "16-bit alpha": (png(4, 4, 16, 6, [bytes(range(32))] * 4), "has more than 8 bits"),
    "16-bit grey TIFF": (tiff(1, 16, 1, 1), "has more than 8 bits"),
    "16-bit colours in planes": (tiff(2, 16, 3, 1, planar=2), "has more than 8 bits"),
    "floating point": (encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "has more than 8 bits"),
    "signed": (tiff(1, 8, 1, 2), "has signed values: save it as 8 bits without a sign"),
    "YCbCr": (tiff(6, 8, 3, 1), "has the colours YCbCr, uncompressed: convert it to RGB"),
    "Lab": (tiff(8, 8, 3, 1), "has the colours LAB: convert it to RGB"),
    "truncated PNG": (encoded(Image.fromarray(RGB))[:-200], "is damaged"),
    "truncated JPEG": (encoded(Image.fromarray(RGB), "JPEG")[:-100], "is damaged"),
    "cut in the header": (encoded(Image.fromarray(RGB))[:20], "is damaged"),
    "text": (b"this is no image", "is no image, whatever its name says: save it as PNG, JPEG, BMP, TIFF or WebP, or"),
    "other format": (encoded(Image.fromarray(RGB), "PPM"), "is no image, whatever its name says"),
    "empty": (b"", "is no image"),
    "animation": (
        encoded(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]),
        "holds several pictures",
    ),
}


IN_THE_PIXELS = {what for what in BAD if what.startswith(("alpha", "grey with", "transparent", "truncated"))}
IN_THE_PIXELS.remove("transparent grey of 4 bits")


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_one_sentence_naming_the_file(what: str) -> None:
    data, expected = BAD[what]
    with pytest.raises(UserError) as caught:
        decode(data, PATH)
    message = str(caught.value)
    assert message.startswith(f"{PATH} {expected}")
    assert message.endswith(".")
    assert "\n" not in message
    assert read_header(data, PATH).refused == (None if what in IN_THE_PIXELS else message)


def test_the_header_tells_size_and_mode() -> None:
    for image, mode in ((Image.fromarray(RGB), "RGB"), (Image.fromarray(GREY), "L")):
        assert read_header(encoded(image), PATH) == Header(width=30, height=20, mode=mode, refused=None)
    broken = read_header(b"text", PATH)
    assert (broken.width, broken.height, broken.mode) == (0, 0, "")
    deep = read_header(BAD["16-bit colours"][0], PATH)
    assert (deep.width, deep.height, deep.mode) == (4, 4, "RGB")


def test_a_decompression_bomb_is_refused_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(RGB))
    for limit in (500, 100):  # Pillow warns above its limit and raises above twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match=f"has more than {limit} pixels, the most that is safe"):
            decode(data, PATH)


def test_says_which_pillow_it_found() -> None:
    name, version = found_pillow().split()
    assert name in ("pillow", "pillow-simd")
    assert version[0].isdigit()


def test_a_broken_chain_of_pictures_is_damage() -> None:
    """Pillow counts the pictures of a TIFF only when it is asked, and raises what it likes."""
    data = bytearray(encoded(Image.fromarray(GREY), "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[start : start + 2], "little")
    following = start + 2 + 12 * entries
    data[following : following + 4] = (len(data) + 1000).to_bytes(4, "little")
    with pytest.raises(UserError, match=r"some.png is damaged"):
        decode(bytes(data), PATH)
