"""Decodes an image file to uint8 pixels, or says in one sentence why it can't be used.

Treatment of each kind of file (docs/images.md has the reasons); conversions are counted under the names below:

    8-bit grey, 8-bit RGB                   taken as they are
    1 bit; 2, 4, 5 or 6 bits per channel    spread over 0..255, counted
    palette                                 RGB, or grey if all its colours are; counted
    alpha, a transparent colour             dropped and counted if every pixel is opaque, otherwise refused
    EXIF or XMP orientation                 turned upright, counted
    embedded profile                        dropped, the values as stored; counted unless it is sRGB or a grey one
    CMYK, Lab, more than 8 bits, signed     refused; so are a TIFF's YCbCr without compression
    several pictures, too many pixels       refused; of a camera's MPO the photograph is taken
    other formats than FORMATS, damaged     refused
"""

import hashlib
import importlib.metadata
import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from scn.core.errors import UserError
from scn.core.memory import room_for

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # among Pillow's other readers are some that start programs
PALETTE, BILEVEL, ROTATED = "palette to RGB or grey", "black and white to grey", "turned as its EXIF data says"
EXPANDED, OPAQUE = "fewer than 8 bits per channel to 8", "opaque alpha dropped"
PROFILE = "embedded profile {} dropped, values as stored"

_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_DEEP = "has more than 8 bits per channel: save it as 8 bits"
_REFUSED = {
    **dict.fromkeys(("I", "F", "I;16", "I;16B", "I;16L", "I;16N"), _DEEP),
    "CMYK": "is CMYK: convert it to RGB",
}
_ORIENTATION, _BITS_PER_SAMPLE, _SAMPLE_FORMAT = 0x0112, 0x0102, 0x0153  # tags of EXIF and TIFF
_COMPRESSION, _PHOTOMETRIC, _YCBCR = 0x0103, 0x0106, 6


@dataclass(frozen=True, kw_only=True)
class Header:
    """Properties of an image file that are known before its pixels are decoded."""

    width: int
    """Width in pixels of the decoded, upright image; 0 if the header can't be read."""
    height: int
    """Height in pixels of the decoded, upright image; 0 if the header can't be read."""
    mode: str
    """Pillow's mode of the pixels in the file, such as "RGB" or "P"; "" if the header can't be read."""
    refused: str | None
    """Sentence with which `decode` will refuse the image; None: only damage or transparent pixels can still do so."""


def read_header(data: bytes, path: Path) -> Header:
    """Reads the header of the image file `path`, whose content is `data`. An unusable image raises no error here."""
    width, height, mode, refused = 0, 0, "", None
    try:
        with open_image(data, path) as image:
            width, height, mode = *image.size, image.mode
            refused = _unsuitable(image, path)
            with _reading(path):
                # Pillow gives the size of a TIFF upright already.
                if _orientation(image, data) >= 5 and image.format != "TIFF":
                    width, height = height, width
    except UserError as error:
        refused = str(error)
    return Header(width=width, height=height, mode=mode, refused=refused)


def open_image(data: bytes, path: Path) -> Image.Image:
    """Opens the image file `path`, whose content is `data`, without decoding its pixels.

    Raises:
        UserError: if it is no image in one of FORMATS, holds several pictures or too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about metadata, and about formats that were tried
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS} pixels, the most that is safe to decode: "
            "cut it into parts or take it out of the corpus."
        ) from None
    except UnidentifiedImageError:
        if data[8:12] == b"WEBP" and not features.check("webp"):
            raise _lacking(path) from None
        raise UserError(
            f"{path} is no image, whatever its name says: save it as PNG, JPEG, BMP, TIFF or WebP, "
            "or take it out of the corpus."
        ) from None
    except Exception as error:  # Pillow's readers raise anything on a broken header
        raise _broken(path, error) from None
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception as error:  # as above
        raise _broken(path, error) from None
    # Cameras write MPO: the photograph and, behind it, its previews.
    if frames > 1 and image.format != "MPO":
        raise UserError(f"{path} holds several pictures: save each as a file of its own.")
    return image


def decode(data: bytes, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """Decodes the image file `path`, whose content is `data`.

    Returns:
        The pixels, (H, W) if the image is grey, (H, W, 3) if it is RGB, and the conversions they went through.
    Raises:
        UserError: if it is damaged, no image, or of a kind that is refused (docs/images.md).
        MemoryError: see room_for_image.
    """
    image = open_image(data, path)
    if refused := _unsuitable(image, path):
        raise UserError(refused)
    profile = profile_to_drop(image.info.get("icc_profile") or b"")
    conversions = [PROFILE.format(profile)] if profile else []
    if _bits(image) < 8 and image.mode in ("L", "RGB"):
        conversions.append(EXPANDED)
    with _reading(path):
        if _orientation(image, data) != 1:
            conversions.append(ROTATED)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in _ALPHA or "transparency" in image.info:
        if image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            what = "an alpha channel with transparent parts" if image.mode in _ALPHA else "transparent parts"
            raise UserError(f"{path} has {what}: flatten it, or take it out of the corpus.")
        conversions.append(OPAQUE)
        image.info.pop("transparency", None)
    if image.mode == "1":
        conversions.append(BILEVEL)
    if image.mode in ("P", "PA"):
        conversions.append(PALETTE)
        pixels = np.array(image.convert("RGB"))
        grey = (pixels == pixels[..., :1]).all()
        return np.ascontiguousarray(pixels[..., 0]) if grey else pixels, conversions
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return np.array(image if image.mode == mode else image.convert(mode)), conversions


def room_for_image(path: Path) -> room_for:
    """Context in which a lack of memory is told with the name of the image file whose pixels it was for."""
    return room_for(
        f"Memory does not suffice for the pixels of {path}: end other programs, do less at once, or cut the image into "
        "parts."
    )


def pixels_sha256(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of the shape and the values of an image, (H, W) or (H, W, 3), in hexadecimal."""
    whole = hashlib.sha256(str(pixels.shape).encode())
    whole.update(np.ascontiguousarray(pixels).data)
    return whole.hexdigest()


def profile_to_drop(profile: bytes) -> str:
    """The name of an ICC profile that decoding drops; "" if there is none, or it is sRGB or a grey one.

    The name is not read by lcms, which not every build of Pillow has: a manifest's counts must not depend on the build.

    Args:
        profile: the content of the profile.
    """
    if not profile:
        return ""
    name = " ".join(re.sub(r"[^\w .,:()+-]", " ", _description(profile)).split())[:60] or "without a name"
    return "" if re.search(r"srgb|gr[ae]y|^c2(ci)?$", name, re.IGNORECASE) else name


def found_pillow() -> str:
    """Name and version of the distribution that provides the module PIL, such as "pillow 12.0.0"."""
    for name in ("pillow-simd", "pillow"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "an unknown Pillow"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever Pillow's readers raise on broken content into a UserError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about metadata
            yield
    except MemoryError:  # which says nothing about the file
        raise
    except Exception as error:
        raise _broken(path, error) from None


def _unsuitable(image: Image.Image, path: Path) -> str | None:
    """The sentence with which an image is refused for what its header says."""
    problem = _REFUSED.get(image.mode)
    bits = _bits(image)
    if problem is None and bits > 8:  # Pillow would cut RGB of 16 bits down to 8 without a word
        problem = _DEEP
    if problem is None and image.mode not in ("1", "L", "RGB", "P", *_ALPHA):
        problem = f"has the colours {image.mode}: convert it to RGB"
    tags = _tags(image)
    if problem is None and image.format == "TIFF" and set(tags.get(_SAMPLE_FORMAT, (1,))) != {1}:
        problem = "has signed values: save it as 8 bits without a sign"
    if problem is None and tags.get(_PHOTOMETRIC) == _YCBCR and tags.get(_COMPRESSION, 1) == 1:
        # Pillow takes them for RGB, of four bytes a pixel.
        problem = "has the colours YCbCr, uncompressed: convert it to RGB"
    # Pillow spreads such pixels over 0..255, but not the grey that stands for transparent.
    if problem is None and bits < 8 and image.mode == "L" and "transparency" in image.info:
        problem = "has transparent parts: flatten it"
    return f"{path} {problem}, or take it out of the corpus." if problem else None


def _bits(image: Image.Image) -> int:
    """Bits per channel in the file."""
    if image.format == "TIFF":
        return int(max(_tags(image).get(_BITS_PER_SAMPLE, (1,))))
    # Elsewhere only Pillow's decoder knows: its raw mode is like "RGB;16B", "L;4", or "BGR;16" for 5, 6 and 5 bits.
    tile = next(iter(getattr(image, "tile", [])), None)
    raw_mode = str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]) if tile else ""
    if raw_mode in ("BGR;15", "BGR;16"):
        return 5
    found = re.search(r";(\d+)", raw_mode)
    return int(found[1]) if found else 8


def _tags(image: Image.Image) -> Mapping[int, Any]:
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _orientation(image: Image.Image, data: bytes) -> int:
    """Orientation by EXIF or XMP data, 1..8, where 1 is upright."""
    if image.format == "PNG" and _text_follows_pixels(data):
        image.load()  # this reads the text that follows the pixels, too
    # The method of PNG's own class would decode the pixels every time.
    found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _text_follows_pixels(png: bytes) -> bool:
    position, pixels_seen = 8, False
    while position + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        pixels_seen |= kind == b"IDAT"
        if pixels_seen and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            return True
        position += 12 + length
    return False


def _description(profile: bytes) -> str:
    """The name that an ICC profile gives itself: in ASCII (version 2) or in the first of its languages (version 4)."""
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        for i in range(min(count, 100)):
            signature, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
            tag = profile[offset : offset + size]
            if signature == b"desc" and tag[:4] == b"mluc":
                length, start = struct.unpack_from(">II", tag, 20)
                return tag[start : start + length].decode("utf-16-be", "replace")
            if signature == b"desc":
                return tag[12:].partition(b"\0")[0].decode("latin-1")
    except struct.error:
        pass
    return ""


def _lacking(path: Path) -> UserError:
    return UserError(f"{path} is in a format that this build of {found_pillow()} can't read: save it as PNG.")


def _broken(path: Path, error: Exception) -> UserError:
    if str(error).startswith("decoder ") and str(error).endswith(" not available"):
        return _lacking(path)
    detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return UserError(f"{path} is damaged ({detail}): fetch it again or take it out of the corpus.")
