"""One image file -> uint8 pixels, or one sentence that says why not."""

import importlib.metadata
import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, features

from scn.errors import UserError

PALETTE, BILEVEL, ROTATED = "palette to RGB or grey", "black and white to grey", "turned as its EXIF data says"

_REFUSED = {
    **dict.fromkeys(("RGBA", "RGBa", "LA", "La", "PA"), "has an alpha channel: flatten it"),
    **dict.fromkeys(
        ("I", "F", "I;16", "I;16B", "I;16L", "I;16N"), "has more than 8 bits per channel: save it as 8 bits"
    ),
    "CMYK": "is CMYK: convert it to RGB",
}


def open_image(data: bytes, path: Path) -> Image.Image:
    """Reads the header of the image file `path`, whose content is `data`.

    Raises:
        UserError: if it is no image that Pillow can read, holds several pictures or too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "image file could not be identified because", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UserError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS} pixels, the most that is safe to decode: "
            "cut it into parts or take it out of the corpus."
        ) from None
    except UnidentifiedImageError:
        if data[8:12] == b"WEBP" and not features.check("webp"):
            raise _lacking(path) from None
        raise UserError(f"{path} is no image, whatever its name says: take it out of the corpus.") from None
    except Exception as error:  # Pillow's readers raise anything on a broken header
        raise _broken(path, error) from None
    # Cameras write MPO: the photograph and, behind it, its previews.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise UserError(f"{path} holds several pictures: save each as a file of its own.")
    return image


def decode(data: bytes, path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """Decodes the image file `path`, whose content is `data`.

    Returns:
        The pixels, (H, W) if the image is grey, (H, W, 3) if it is RGB, and the conversions they went through.
    Raises:
        UserError: if it is damaged or no image, or has an alpha channel, more than 8 bits or other colours than RGB.
    """
    image = open_image(data, path)
    _refuse_unsuitable(image, path)
    try:
        image.load()
        rotated = ImageOps.exif_transpose(image)
    except Exception as error:  # as above
        raise _broken(path, error) from None
    conversions = [] if image.getexif().get(0x0112, 1) in (0, 1) else [ROTATED]
    if rotated.mode == "1":
        return np.array(rotated.convert("L")), [*conversions, BILEVEL]
    if rotated.mode == "P":
        pixels = np.array(rotated.convert("RGB"))
        grey = (pixels == pixels[..., :1]).all()
        return np.ascontiguousarray(pixels[..., 0]) if grey else pixels, [*conversions, PALETTE]
    return np.array(rotated), conversions


def found_pillow() -> str:
    """Which distribution provides the module PIL, and its version."""
    for name in ("pillow-simd", "pillow"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "an unknown Pillow"


def _refuse_unsuitable(image: Image.Image, path: Path) -> None:
    problem = _REFUSED.get(image.mode)
    if problem is None and "transparency" in image.info:
        problem = "has transparent parts: flatten it"
    if problem is None and _raw_bits(image) > 8:  # Pillow would cut RGB of 16 bits down to 8 without a word
        problem = _REFUSED["I;16"]
    if problem is None and image.mode not in ("L", "RGB", "P", "1"):
        problem = f"has the colours {image.mode}: convert it to RGB"
    if problem:
        raise UserError(f"{path} {problem}, or take it out of the corpus.")


def _raw_bits(image: Image.Image) -> int:
    """Bits per channel in the file, as far as Pillow's decoder tells (its raw mode, like "RGB;16B")."""
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        raw_mode = str(arguments[0]) if arguments else ""
        if ";16" in raw_mode or ";32" in raw_mode:
            return 16
    return 8


def _lacking(path: Path) -> UserError:
    return UserError(f"{path} is in a format that this build of {found_pillow()} can't read: save it as PNG.")


def _broken(path: Path, error: Exception) -> UserError:
    if str(error).startswith("decoder ") and str(error).endswith(" not available"):
        return _lacking(path)
    detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return UserError(f"{path} is damaged ({detail}): fetch it again or take it out of the corpus.")
