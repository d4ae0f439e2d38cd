"""Reads users' photographs with Pillow into 8-bit pixels, and writes restored ones."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from scn.core.errors import UserError
from scn.core.files import write_atomically

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
}
"""Formats that can be written: suffix -> Pillow's format and options. Every build of Pillow has them."""

_NO_ALPHA = {"JPEG", "BMP"}
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "LA": "LA", "PA": "RGBA", "RGBA": "RGBA"}
"""Pillow's modes that are read -> the mode they are converted to. 16-bit, float, CMYK and others are refused."""


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """An image as upright 8-bit pixels, with its transparency and colour profile."""

    pixels: NDArray[np.uint8]
    """Pixel values, (H, W, C) with C = 1 (grey) or 3 (RGB)."""
    alpha: NDArray[np.uint8] | None
    """Opacity, (H, W), where 255 is opaque; None for an image without transparency."""
    icc_profile: bytes | None
    """The file's embedded colour profile, which the restored image keeps; None if it has none."""

    def image(self) -> Image.Image:
        """Converts it to a Pillow image of mode L, RGB, LA or RGBA, with its colour profile."""
        parts = [self.pixels] if self.alpha is None else [self.pixels, self.alpha[..., None]]
        pixels = np.concatenate(parts, axis=-1)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if self.icc_profile:
            image.info["icc_profile"] = self.icc_profile
        return image


def read_photograph(path: Path) -> Photograph:
    """Reads an image file; EXIF orientation is applied, palettes and bilevel images are converted.

    Raises:
        UserError: if the file is missing, no image, damaged, animated, or has pixels other than 8-bit grey or RGB.
    """
    try:
        with warnings.catch_warnings():
            # The user named this file; a photograph of 100 megapixels is no attack.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return photograph_of(image, path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name an image or a folder of images.") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{path} is no image that can be read: give PNG, JPEG, TIFF or BMP.") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UserError(f"{path} has more than {limit} megapixels: cut it into parts.") from None
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on a damaged file
        if str(error).startswith("decoder ") and str(error).endswith(" not available"):
            raise UserError(f"{path} is in a format that this build of Pillow can't read: save it as PNG.") from None
        raise UserError(f"{path} is damaged and can't be read ({error}): fetch it again or leave it out.") from None


def photograph_of(image: Image.Image, name: Path | str = "the image") -> Photograph:
    """Converts an opened Pillow image to upright 8-bit pixels.

    Args:
        name: what messages call the image.
    Raises:
        UserError: if it is animated or has pixels other than 8-bit grey or RGB.
    """
    _check(image, name)
    image.load()
    return _photograph(ImageOps.exif_transpose(image))


def check_target(path: Path) -> None:
    """Raises UserError unless `path` has the suffix of a format that can be written."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} names no format that can be written: end its name in one of {', '.join(FORMATS)}.")


def write_photograph(path: Path, photograph: Photograph) -> None:
    """Writes an image in the format that `path`'s suffix names; it appears whole or not at all.

    Raises:
        UserError: if the format is unknown or can't hold transparency, or the file can't be written.
    """
    check_target(path)
    kind, options = FORMATS[path.suffix.lower()]
    if photograph.alpha is not None and kind in _NO_ALPHA:
        raise UserError(f"{path}: {kind} can't hold the transparency of this image: write a .png.")
    if photograph.icc_profile:
        options = {**options, "icc_profile": photograph.icc_profile}
    encoded = io.BytesIO()
    photograph.image().save(encoded, kind, **options)
    write_atomically(path, encoded.getvalue())


def write_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Writes pixels, (H, W) or (H, W, 3), as `write_photograph` does, and makes the folder; errors are the same."""
    shaped = pixels if pixels.ndim == 3 else pixels[..., None]
    write_photograph(path, Photograph(pixels=shaped, alpha=None, icc_profile=None))


def _check(image: Image.Image, path: Path | str) -> None:
    # Pillow reads 16-bit colour as 8 bits and says so only in the decoder's raw mode ("RGB;16B").
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))
    if image.mode not in _MODES or deep:
        what = "16-bit" if deep or image.mode.startswith("I") else image.mode
        raise UserError(f"{path} has {what} pixels: convert it to 8-bit grey or RGB first.")
    # MPO is a JPEG with a preview or a second view behind it; what is shown is the first.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UserError(f"{path} holds several pictures: save the one that you want restored as a file of its own.")


def _photograph(image: Image.Image) -> Photograph:
    mode = _MODES[image.mode]
    if image.has_transparency_data and mode in ("L", "RGB"):
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    profile = image.info.get("icc_profile")
    pixels = np.asarray(image.convert(mode))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colours = 3 if mode.startswith("RGB") else 1
    alpha = np.ascontiguousarray(pixels[..., colours]) if pixels.shape[-1] > colours else None
    return Photograph(pixels=np.ascontiguousarray(pixels[..., :colours]), alpha=alpha, icc_profile=profile)
