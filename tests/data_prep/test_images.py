"""What becomes of every kind of image file: pixels, a counted conversion, or one sentence."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.images import BILEVEL, PALETTE, ROTATED, decode, found_pillow
from scn.errors import UserError

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


def test_exif_rotation_is_applied_and_counted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    decoded, conversions = decode(encoded(Image.fromarray(RGB), exif=exif), PATH)
    np.testing.assert_array_equal(decoded, np.rot90(RGB, -1))
    assert conversions == [ROTATED]

    exif[0x0112] = 1
    assert decode(encoded(Image.fromarray(RGB), exif=exif), PATH)[1] == []


def transparent_palette() -> bytes:
    return encoded(Image.fromarray(RGB).quantize(8), transparency=0)


def png_of_16_bit_colours() -> bytes:
    """Pillow cannot write one: the header and the pixels of an 8-bit one, declared as 16 bits of half the width."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + bytes(range(24)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


BAD = {
    "alpha": (encoded(Image.fromarray(RGB).convert("RGBA")), "has an alpha channel: flatten it"),
    "grey with alpha": (encoded(Image.fromarray(RGB).convert("LA")), "has an alpha channel"),
    "transparent palette": (transparent_palette(), "has transparent parts"),
    "transparent colour": (encoded(Image.fromarray(RGB), transparency=(1, 2, 3)), "has transparent parts"),
    "CMYK": (encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "is CMYK: convert it to RGB"),
    "16-bit grey": (encoded(Image.fromarray(GREY.astype(np.uint16) * 257)), "has more than 8 bits"),
    "16-bit colours": (png_of_16_bit_colours(), "has more than 8 bits"),
    "truncated PNG": (encoded(Image.fromarray(RGB))[:-200], "is damaged"),
    "truncated JPEG": (encoded(Image.fromarray(RGB), "JPEG")[:-100], "is damaged"),
    "cut in the header": (encoded(Image.fromarray(RGB))[:20], "is damaged"),
    "text": (b"this is no image", "is no image, whatever its name says"),
    "empty": (b"", "is no image"),
    "animation": (
        encoded(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]),
        "holds several pictures",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_one_sentence_naming_the_file(what: str) -> None:
    data, expected = BAD[what]
    with pytest.raises(UserError) as caught:
        decode(data, PATH)
    message = str(caught.value)
    assert message.startswith(f"{PATH} {expected}")
    assert message.endswith(".")
    assert "\n" not in message


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
