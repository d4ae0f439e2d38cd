"""What an image file says beside its pixels: EXIF data, resolution, colour profile, XMP; how the camera was held."""

import io
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION, _EXIF, _WIDTH, _HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_X, _Y, _UNIT, _XMP, _ICC_PROFILE = 282, 283, 296, 700, 34675
_TURNED = re.compile(rb"(tiff:Orientation(?:>|\s*=\s*[\"']))[2-8]")
_OF_THE_FILE = (
    *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273),
    *(277, 278, 279, 280, 281, 282, 283, 284, 290, 291, 292, 293, 296),
    *(301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338, 339, 340, 341, 342, 343, 347),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34377, 34675, 37724),
)
"""TIFF's tags that say how pixels are stored, not what was photographed, and Photoshop's resources, such as a preview
of what was: in EXIF data they would be wrong."""

XMP_KEY = "XML:com.adobe.xmp"
"""The name of the XMP packet among the texts of a PNG."""
_IPTC, _MOST_IPTC = 0x0404, 65506
"""The number of IPTC records among Photoshop's resources, and most bytes of them in a JPEG."""
_GAMMA = 1 / 2.2
"""What a PNG says of pixels that are sRGB's."""

_UPRIGHT: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: np.rot90(pixels),
}
"""EXIF's orientation -> what turns the stored pixels upright."""


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turns pixels (H, W, C) as EXIF's `orientation` says; any other value leaves them."""
    return np.ascontiguousarray(_UPRIGHT.get(orientation, lambda pixels: pixels)(pixels))


def upright_pair(pair: Any, orientation: Any) -> Any:
    """The size, or the resolution, across and down, of the image that is turned upright; None if there is none."""
    return pair[::-1] if orientation in (5, 6, 7, 8) and isinstance(pair, tuple | list) else pair


def about(image: Image.Image) -> dict[str, Any]:
    """What an opened image says beside its pixels, as fields of scn.imaging.image_io.Photograph."""
    exif = image.getexif()
    dpi = image.info.get("dpi")
    if "jfif_unit" in image.info and not image.info["jfif_unit"] and _X not in exif:
        dpi = None  # Pillow says 72 of a JPEG whose EXIF data name no resolution
    if dpi is None and _X in exif and _Y in exif and exif.get(_UNIT, 2) in (2, 3):  # WebP and AVIF have it there alone
        inches = 2.54 if exif.get(_UNIT) == 3 else 1
        dpi = tuple(inches * (_number(exif[tag]) or 0) for tag in (_X, _Y))
    dpi = upright_pair(dpi, exif.get(ORIENTATION))
    found = _about(lambda: exif, set(exif), image.info.get("icc_profile"), image.info.get("xmp"), dpi)
    if image.format in ("JPEG", "MPO"):
        found["iptc"] = image.info.get("photoshop", {}).get(_IPTC)
    if image.format == "PNG":
        found["text"] = {
            str(key): str(value)
            for key, value in image.info.items()
            if isinstance(value, str) and key != XMP_KEY and not str(key).startswith("Raw profile")
        }
        gamma = image.info.get("gamma", _GAMMA)
        if abs(gamma - _GAMMA) > 0.01 and not {"icc_profile", "srgb"} & image.info.keys():
            found["notes"] = (*found["notes"], f"its gamma of {gamma:g} is left out: colours may look different")
    return found


def about_tiff(data: bytes, tags: Mapping[int, Any]) -> dict[str, Any]:
    """The same of a TIFF that Pillow may not open, by its tags: number -> value, a rational one as a pair."""

    def load() -> Image.Exif:
        exif = Image.Exif()
        exif.load_from_fp(io.BytesIO(data))
        return exif

    dpi = None
    if _X in tags and _Y in tags and tags.get(_UNIT, 2) != 1:
        inches = 2.54 if tags.get(_UNIT) == 3 else 1
        dpi = [inches * over / under if under else 0 for over, under in (tags[_X], tags[_Y])]
        dpi = upright_pair(dpi, tags.get(ORIENTATION))
    return _about(load, set(tags), tags.get(_ICC_PROFILE), tags.get(_XMP), dpi)


def iptc_segment(iptc: bytes | None) -> bytes:
    """The segment APP13 of a JPEG with IPTC records; b"" where there are none, or more than a segment holds."""
    if not iptc or len(iptc) > _MOST_IPTC:
        return b""
    resource = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    return b"\xff\xed" + struct.pack(">H", 2 + len(resource)) + resource


def bits_of(data: bytes) -> int:
    """Bits per channel of an AVIF or HEIC file, by what it tells the decoder; 8 if it tells nothing."""
    av1, hevc = (data.find(name) + 4 for name in (b"av1C", b"hvcC"))
    if 3 < av1 < len(data) - 2:  # AV1CodecConfigurationRecord: high_bitdepth, twelve_bit
        return {0x40: 10, 0x60: 12}.get(data[av1 + 2] & 0x60, 8)
    if 3 < hevc < len(data) - 17:  # HEVCDecoderConfigurationRecord, ISO/IEC 14496-15: bitDepthLumaMinus8
        return 8 + (data[hevc + 17] & 7)
    return 8


def _about(load: Callable[[], Image.Exif], tags: set[int], icc_profile: Any, xmp: Any, dpi: Any) -> dict[str, Any]:
    kept: bytes | None = None
    notes: tuple[str, ...] = ()
    if tags - {ORIENTATION, *_OF_THE_FILE}:
        try:
            kept = _exif_of(load())
        except Exception:  # Pillow's, of damaged data, and of BigTIFF's, which it can't copy
            notes = ("its EXIF data can't be copied and is left out",)
    return {"exif": kept, "icc_profile": icc_profile, "xmp": _xmp_of(xmp), "dpi": _dpi_of(dpi), "notes": notes}


def _exif_of(exif: Image.Exif) -> bytes | None:
    """EXIF data without orientation, and without what describes the file; None if nothing is left."""
    copy = Image.Exif()
    copy.load(exif.tobytes())  # with the folders inside; Pillow decodes a TIFF by the original
    for tag in (ORIENTATION, *_OF_THE_FILE):
        copy.pop(tag, None)
    return copy.tobytes() if len(copy) else None


def _xmp_of(xmp: Any) -> bytes | None:
    """An XMP packet that calls the image upright, as its pixels are; None if there is none."""
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return _TURNED.sub(rb"\g<1>1", xmp) if isinstance(xmp, bytes) and xmp else None


def exif_for(exif: bytes | None, height: int, width: int, dpi: tuple[float, float] | None = None) -> bytes:
    """EXIF data for an image of another size: the size that it names, if it names one, is the new one.

    Args:
        exif: of the image before; None: it had none.
        dpi: the resolution, for a file that has no other place for it.
    """
    loaded = Image.Exif()
    if exif:
        loaded.load(exif)
        inside = loaded.get_ifd(_EXIF)
        inside.update({tag: side for tag, side in ((_WIDTH, width), (_HEIGHT, height)) if tag in inside})
    if dpi:
        loaded.update({_X: dpi[0], _Y: dpi[1], _UNIT: 2})
    return loaded.tobytes()


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):  # anything stands in files
        return None


def _dpi_of(dpi: Any) -> tuple[float, float] | None:
    """Pixels per inch that a file names; None if it names none that makes sense, such as Pillow's 1 for no answer."""
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):  # anything stands in files
        return None
    return (x, y) if 1 < x <= 1e5 and 1 < y <= 1e5 else None
