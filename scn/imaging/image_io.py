"""Reads users' photographs, upright, with what their files say beside the pixels, and writes restored ones."""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scn.core import memory
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.imaging import metadata, sixteen_bits, tiff
from scn.imaging.formats import Format, called, check_can, format_of, opened, readable, recognised, several
from scn.imaging.jpeg_quality import quality_of
from scn.imaging.metadata import ORIENTATION, exif_for, upright, upright_pair

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

_MODES = {
    **{"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBX": "RGB", "YCbCr": "RGB", "CMYK": "RGB"},
    **{"LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"},
}
"""Pillow's modes of 8 bits or fewer that are read -> the mode they are converted to."""
_SCALED = {"L;2": 85, "L;4": 17}
"""Values of 2 and 4 bits -> what Pillow multiplies pixels by, but not the value that is transparent."""
_CONVERTED = ("CMYK", "YCbCr")
"""Modes whose conversion changes values, and is told."""
_LARGEST_IN_JPEG = {"exif": 65533, "xmp": 65502}
"""Most bytes of them in a JPEG."""
_FIRST_IS_SHOWN = ("MPO", "HEIF")
"""Formats of which the first picture is what is shown: MPO is a JPEG with a preview or a second view behind it, HEIF
holds several views."""
_MAY_HAVE_MORE_BITS = ("AVIF", "HEIF")
"""Formats of 8, 10 or 12 bits, of which Pillow gives 8."""
_COLOURS_ONLY = ("WEBP", "AVIF")
"""Formats that have colours for a grey image, too: WebP always, AVIF where it has alpha or Pillow writes it."""


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """An image as upright pixels, and what its file says beside them.

    A file has 8 or 16 bits; float32, where 1 is white, comes from programs, and goes back to them.
    """

    pixels: Pixels
    """Pixel values, (H, W, C) with C = 1 (grey) or 3 (RGB)."""
    alpha: Pixels | None
    """Opacity, (H, W), of the pixels' type, whose largest value is opaque; None for an image without transparency."""
    icc_profile: bytes | None
    """The file's embedded colour profile, which the restored image keeps; None if it has none."""
    exif: bytes | None = None
    """EXIF data without orientation; None if there is none."""
    xmp: bytes | None = None
    """Captions, ratings and the like, as an XMP packet; None if there is none."""
    iptc: bytes | None = None
    """IPTC records of a JPEG, such as caption and keywords, which only JPEG and TIFF keep; None if there are none."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch; None if the file names none."""
    text: Mapping[str, str] = field(default_factory=dict)
    """What a PNG says in words (Author, Software, ...), which only a PNG keeps."""
    quality: int | None = None
    """The quality of JPEG that the file's quantisation tables stand for; None for other formats and tables."""
    notes: tuple[str, ...] = ()
    """What was converted, a phrase each, to be told."""

    @property
    def white(self) -> int:
        """The value of white, 255 or 65535, the largest that there is, or 1 for float32."""
        return {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(self.pixels.dtype, 1)

    def image(self, *, deep: bool = False) -> Image.Image:
        """Converts it to a Pillow image of mode L, RGB, LA or RGBA, with its colour profile; 16 bits become 8.

        Args:
            deep: 16 bits of grey without alpha stay, in mode I;16; Pillow has no other mode for them.
        """
        pixels = self._all()
        if pixels.dtype == np.uint16 and not (deep and pixels.shape[-1] == 1):
            pixels = to_8_bits(pixels)
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        if self.icc_profile:
            image.info["icc_profile"] = self.icc_profile
        return image

    def _all(self) -> Any:
        return self.pixels if self.alpha is None else np.concatenate([self.pixels, self.alpha[..., None]], axis=-1)


def to_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """The nearest values of 8 bits, of 16-bit ones."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def read_photograph(path: Path) -> Photograph:
    """Reads an image file: upright, palettes, bilevel and CMYK images converted, 16 bits kept.

    Raises:
        UserError: if the file is missing, no image of scn.imaging.formats, damaged, animated, too large for this
            machine's memory, or has pixels that are no photograph's, such as floating point.
    """
    try:
        return decode_photograph(path.read_bytes(), path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: name an image or a folder of images.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name an image that you may read.") from None


def decode_photograph(data: bytes, name: Path | str = "the image") -> Photograph:
    """Decodes the content of an image file, as `read_photograph` does; errors call it `name`."""
    try:
        with warnings.catch_warnings(), io.BytesIO(data) as file:
            warnings.simplefilter("ignore")  # of damaged EXIF data, which is left out
            page = tiff.picture(file, name) if tiff.is_tiff(data) else None
            if page and tiff.is_for_us(page, name):
                _require_memory(page.imagewidth, page.imagelength, name, deep=True)
                return _of_tiff(tiff.decode(page, data, name), data)
            with opened(io.BytesIO(data), page.index if page else 0) as image:
                if page is None and getattr(image, "is_animated", False) and image.format not in _FIRST_IS_SHOWN:
                    raise UserError(several(name))
                raw_mode = _deep(image)
                _require_memory(image.width, image.height, name, deep=bool(raw_mode))
                if raw_mode:
                    return _of_png(image, data, raw_mode)
                photograph = _converted(image, name)
                if image.format in _MAY_HAVE_MORE_BITS and (bits := metadata.bits_of(data)) > 8:
                    notes = (*photograph.notes, f"{bits} bits became 8, as Pillow reads no more")
                    photograph = replace(photograph, notes=notes)
                return photograph
    except Image.UnidentifiedImageError:
        raise UserError(_unidentified(data, name)) from None
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise anything on a damaged file
        if str(error).startswith("decoder ") and str(error).endswith(" not available"):
            raise UserError(
                f"{name} is compressed in a way that this build of Pillow can't read: save it as PNG."
            ) from None
        raise UserError(f"{name} is damaged and can't be read ({error}): fetch it again or leave it out.") from None


def size_of(path: Path, name: Path | str) -> tuple[int, int]:
    """The width and height of an image file, upright as it is read, without decoding it.

    Raises:
        UserError: if it is none that can be read.
        OSError: if it can't be opened.
    """
    size: tuple[int, int]
    with path.open("rb") as file:
        if tiff.is_tiff(file.read(4)):
            file.seek(0)
            if page := tiff.picture(file, name):
                size = upright_pair((page.imagewidth, page.imagelength), page.tags.valueof(ORIENTATION))
                return size
    try:
        with warnings.catch_warnings(), opened(path) as image:
            warnings.simplefilter("ignore")  # of damaged EXIF data
            exif = Image.Image.getexif(image)  # that of a PNG would decode it
            size = upright_pair(image.size, exif.get(ORIENTATION))
            return size
    except Exception:  # Pillow's decoders raise anything; the reader has the sentence
        decode_photograph(path.read_bytes(), name)
        raise UserError(f"{name} is damaged and can't be read: fetch it again or leave it out.") from None


def photograph_of(image: Image.Image) -> Photograph:
    """Converts an opened Pillow image to upright pixels, of 16 bits for its modes I;16, otherwise of 8.

    Raises:
        UserError: if it is animated or has pixels that are no photograph's; messages call it "the image".
    """
    if getattr(image, "is_animated", False) and image.format not in _FIRST_IS_SHOWN:
        raise UserError(several("the image"))
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)[..., None]
        return _photograph(upright(values, image.getexif().get(ORIENTATION, 1)), **metadata.about(image))
    return _converted(image, "the image")


def _of_tiff(decoded: tiff.Decoded, data: bytes) -> Photograph:
    """A photograph of what tifffile has decoded; inks become RGB of 8 bits, as Pillow's LittleCMS has no more."""
    about = metadata.about_tiff(data, decoded.tags)
    about["notes"] = (*about["notes"], *decoded.notes)
    values: Any = decoded.pixels
    if decoded.inks:
        deep = values.dtype == np.uint16
        values = to_8_bits(values) if deep else values
        colours = _of_cmyk(Image.fromarray(np.ascontiguousarray(values[..., :4]), "CMYK"), about["icc_profile"])
        values = np.concatenate([np.asarray(colours), values[..., 4:]], axis=-1)
        about["icc_profile"] = None  # it is that of the inks
        about["notes"] = (*about["notes"], "CMYK of 16 bits converted to RGB of 8" if deep else "CMYK converted to RGB")
    return _photograph(upright(values, decoded.tags.get(ORIENTATION, 1)), **about)


def _of_png(image: Image.Image, data: bytes, raw_mode: str) -> Photograph:
    about, orientation = metadata.about(image), image.getexif().get(ORIENTATION, 1)
    values = sixteen_bits.decode(data)
    values = values[..., [0, -1]] if raw_mode.startswith("LA") else values  # OpenCV makes RGB of it
    if values.shape[-1] == 1 and isinstance(clear := image.info.get("transparency"), int):  # OpenCV leaves it out
        values = np.concatenate([values, np.where(values == clear, 0, 65535).astype(np.uint16)], axis=-1)
    return _photograph(upright(values, orientation), **about)


def _converted(image: Image.Image, name: Path | str) -> Photograph:
    """A photograph of Pillow's modes of 8 bits or fewer."""
    if image.mode not in _MODES:
        raise UserError(f"{name} has {image.mode} pixels: convert it to grey or RGB of 8 or 16 bits first.")
    stored = next(iter(getattr(image, "tile", ())), None)
    scale = _SCALED.get(str(stored[3])) if stored else None
    if scale and isinstance(clear := image.info.get("transparency"), int):
        image.info["transparency"] = clear * scale
    about = metadata.about(image)
    if tables := getattr(image, "quantization", None):
        about["quality"] = quality_of(tables)
    image.load()  # of a TIFF it turns the pixels upright, too, and forgets the orientation
    converted = image
    if image.mode in _CONVERTED:
        about["notes"] = (*about["notes"], f"{image.mode} converted to RGB")
    if image.mode == "CMYK":
        converted = _of_cmyk(image, about["icc_profile"])
        about["icc_profile"] = None  # it is that of the inks
    mode = _MODES[image.mode]
    if image.has_transparency_data and mode in ("L", "RGB"):
        mode += "A"
    values = np.asarray(converted if converted.mode == mode else converted.convert(mode))
    values = values if values.ndim == 3 else values[..., None]
    return _photograph(upright(values, image.getexif().get(ORIENTATION, 1)), **about)


def _require_memory(width: int, height: int, name: Path | str, *, deep: bool) -> None:
    """Raises UserError unless there is memory to read an image of this size."""
    needed = width * height * (28 if deep else 12)  # for a pixel, in colours: the most that was measured
    memory.require(needed, f"{name} has {width * height / 1e6:,.0f} megapixels")


def _unidentified(data: bytes, name: Path | str) -> str:
    """The sentence for a file that is no image of the table; raises UserError for one that only this Pillow lacks."""
    if known := recognised(data[:16]):
        check_can(known, name)
    if tiff.is_tiff(data):
        return f"{name} is a TIFF, but holds no picture that can be read: save it as PNG, or fetch it again."
    kind = called(data[:512])
    what = f"is {kind}, and" if kind else "is"
    return f"{name} {what} no image that can be read: give {', '.join(readable())}."


def _photograph(values: Any, **about: Any) -> Photograph:
    """Splits (H, W, 1..4) into pixels and alpha."""
    colours = 3 if values.shape[-1] > 2 else 1
    alpha = np.ascontiguousarray(values[..., colours]) if values.shape[-1] > colours else None
    return Photograph(pixels=np.ascontiguousarray(values[..., :colours]), alpha=alpha, **about)


def _deep(image: Image.Image) -> str:
    """How 16 bits per channel are stored ("RGB;16B"); "" for other images. Of colours Pillow would read 8 bits."""
    # The decoder's arguments are the raw mode, or a tuple that begins with it
    stored = [
        str(tile[3] if isinstance(tile[3], str) else tile[3][0]) for tile in getattr(image, "tile", []) if tile[3]
    ]
    return next((raw_mode for raw_mode in stored if ";16" in raw_mode), "")


def _of_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    """CMYK to sRGB, by the file's profile where there is one and Pillow has LittleCMS; otherwise by complements."""
    if profile:
        try:
            from PIL import ImageCms

            inks = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, inks, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None
            return converted
        except (ImportError, OSError, ImageCms.PyCMSError):
            pass
    return image.convert("RGB")


def check_holds(as_format: Format, photograph: Photograph, name: Path | str) -> None:
    """Raises UserError, which calls the file `name`, if the format can't hold an image."""
    height, width = photograph.pixels.shape[:2]
    if photograph.alpha is not None and not as_format.has_alpha:
        raise UserError(f"{name}: {as_format.name} can't hold the transparency of this image: write a .png.")
    if as_format.longest and max(height, width) > as_format.longest:
        raise UserError(
            f"{name}: {as_format.name} holds {as_format.longest} pixels a side, not {width}x{height}: write a .png."
        )


def lost(as_format: Format, photograph: Photograph) -> list[str]:
    """What a file of the format does not have of an image, a phrase each, to be told."""
    notes = []
    if photograph.white > 255 and not as_format.has_16_bits:
        notes.append(f"16 bits became 8, as {as_format.name} has no more")
    if as_format.has_exif and photograph.icc_profile and not _profile_for(as_format, photograph):
        notes.append(f"its grey colour profile is left out, as the {as_format.name} is RGB")
    return notes


def write_photograph(path: Path, photograph: Photograph) -> None:
    """Writes an image in the format that `path`'s suffix names; it appears whole or not at all.

    Raises:
        UserError: if the format is unknown or can't hold transparency, or the file can't be written.
    """
    as_format = format_of(path)
    check_can(as_format, path)
    write_atomically(path, encode_photograph(photograph, as_format, path))


def encode_photograph(
    photograph: Photograph, as_format: Format, name: Path | str = "the image", quality: int | None = None
) -> bytes:
    """The content of an image file; errors are those of `write_photograph`, and call it `name`.

    Args:
        quality: of a lossy format, 1..100; None: the table's.
    """
    check_holds(as_format, photograph, name)
    options = dict(as_format.options)
    if quality is not None and as_format.has_quality:
        options["quality"] = quality
    if profile := _profile_for(as_format, photograph):
        options["icc_profile"] = profile
    has_dpi = as_format.name not in ("WEBP", "AVIF", "HEIF")  # these have it in their EXIF data alone
    if as_format.has_exif and (photograph.exif or (photograph.dpi and not has_dpi)):
        within = None if has_dpi else photograph.dpi
        height, width, _ = photograph.pixels.shape
        options["exif"] = exif_for(photograph.exif, height, width, within)
    if photograph.xmp and as_format.has_exif:
        options["xmp"] = photograph.xmp
    if as_format.name == "JPEG":
        for name_of, most in _LARGEST_IN_JPEG.items():
            if len(options.get(name_of, b"")) > most:
                del options[name_of]
        options["extra"] = metadata.iptc_segment(photograph.iptc)
    if photograph.dpi and has_dpi and not (as_format.name == "JPEG" and max(photograph.dpi) >= 2**16):
        options["dpi"] = photograph.dpi
    if as_format.name == "TIFF":
        return tiff.encode(photograph._all(), iptc=photograph.iptc, **options)
    if as_format.name == "PNG":
        options["pnginfo"] = PngInfo()
        for key, value in photograph.text.items():
            options["pnginfo"].add_text(key, value)
        if "xmp" in options:
            options["pnginfo"].add_itxt(metadata.XMP_KEY, options.pop("xmp").decode(errors="replace"))
    if photograph.pixels.dtype == np.uint16 and as_format.has_16_bits:
        return sixteen_bits.encode_png(photograph._all(), **options)
    encoded = io.BytesIO()
    replace(photograph, icc_profile=None).image().save(encoded, as_format.name, **options)  # it is in the options
    return encoded.getvalue()


def _profile_for(as_format: Format, photograph: Photograph) -> bytes | None:
    """The colour profile of a file; a grey one describes no pixels of a format that makes colours of grey."""
    profile = photograph.icc_profile if as_format.has_exif else None
    deep_with_alpha = photograph.pixels.dtype == np.uint16 and photograph.alpha is not None
    has_colours = as_format.name in _COLOURS_ONLY or (as_format.name == "TIFF" and deep_with_alpha)
    return None if profile and profile[16:20] == b"GRAY" and has_colours else profile


def write_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Writes pixels, (H, W) or (H, W, 3), as `write_photograph` does, and makes the folder; errors are the same."""
    shaped = pixels if pixels.ndim == 3 else pixels[..., None]
    write_photograph(path, Photograph(pixels=shaped, alpha=None, icc_profile=None))
