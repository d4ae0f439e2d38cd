"""What an image file says beside its pixels: EXIF data, resolution, colour profile; how the camera was held."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION, _EXIF, _WIDTH, _HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_OF_THE_FILE = (
    *(
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        263,
        264,
        265,
        266,
        273,
        277,
        278,
        279,
        280,
        281,
        282,
        283,
        284,
        290,
        291,
        292,
        293,
        296,
    ),
    *(301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338, 339, 340, 341, 342, 343, 347),
    *(512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 700, 34675, 37724),
)
"""TIFF's tags that say how pixels are stored, not what was photographed: in EXIF data they would be wrong."""

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


def exif_of(image: Image.Image) -> bytes | None:
    """A photograph's EXIF data without orientation, and without what describes the file; None if nothing is left."""
    exif = Image.Exif()
    exif.load(image.getexif().tobytes())  # a copy, with the folders inside: Pillow decodes a TIFF by the original
    for tag in (ORIENTATION, *_OF_THE_FILE):
        exif.pop(tag, None)
    return exif.tobytes() if len(exif) else None


def exif_for(exif: bytes, height: int, width: int) -> bytes:
    """EXIF data for an image of another size: the size that it names, if it names one, is the new one."""
    loaded = Image.Exif()
    loaded.load(exif)
    inside = loaded.get_ifd(_EXIF)
    inside.update({tag: side for tag, side in ((_WIDTH, width), (_HEIGHT, height)) if tag in inside})
    return loaded.tobytes()


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch that the file names; None if it names none that makes sense."""
    dpi = image.info.get("dpi")
    try:
        x, y = (float(value) for value in dpi)  # type: ignore[union-attr]  # anything stands in files
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 <= x <= 1e5 and 1 <= y <= 1e5 else None
