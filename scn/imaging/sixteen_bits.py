"""Files of 16 bits per channel: Pillow reads and writes grey ones only, so their pixels go through OpenCV and tifffile.

OpenCV is imported where it is used, as it is large.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_AFTER_HEADER = 8 + 25
"""Bytes of a PNG's signature and header."""
_ICC_PROFILE = 34675
"""TIFF's tag of the colour profile."""


def decode(data: bytes) -> NDArray[np.uint16]:
    """Decodes a PNG or TIFF of 16 bits per channel, as it is stored (not turned upright).

    Returns:
        (H, W, C): grey, grey and alpha, RGB, or RGB and alpha.
    Raises:
        ValueError: if it is damaged, or no file of 16 bits per channel.
    """
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"OpenCV can't decode it: {error}".splitlines()[0]) from None
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("the pixels end too early" if pixels is None else f"its pixels are {pixels.dtype}")
    if pixels.ndim == 2:
        return pixels.astype(np.uint16, copy=False)[..., None]
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]], np.uint16)


def encode_png(pixels: NDArray[np.uint16], **metadata: Any) -> bytes:
    """A PNG of 16 bits per channel.

    Args:
        pixels: (H, W, C), C = 1 to 4 as in `decode`.
        metadata: what Pillow's `save` takes: exif, dpi, icc_profile.
    """
    import cv2

    if pixels.shape[-1] == 2:  # OpenCV has no grey with alpha
        return _grey_alpha_png(pixels, metadata)
    done, data = cv2.imencode(".png", pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]] if pixels.shape[-1] > 2 else pixels)
    assert done
    return _with_chunks(data.tobytes(), metadata)


def encode_tiff(pixels: NDArray[np.uint16], *, icc_profile: bytes | None, dpi: tuple[float, float] | None) -> bytes:
    """A TIFF of 16 bits per channel, deflated; arguments as those of `encode_png`, EXIF data has no place in it."""
    import tifffile

    if pixels.shape[-1] == 2:  # grey with alpha, which hardly anything reads
        pixels = pixels[..., [0, 0, 0, 1]]
    channels = pixels.shape[-1]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels == 4 else None,
        compression="zlib",
        resolution=dpi,
        resolutionunit="INCH" if dpi else None,
        extratags=[(_ICC_PROFILE, "B", len(icc_profile), icc_profile, True)] if icc_profile else [],
        metadata=None,
        software=False,
    )
    return file.getvalue()


def _grey_alpha_png(pixels: NDArray[np.uint16], metadata: dict[str, Any]) -> bytes:
    """PNG's colour type 4: rows without filter, as the format allows, in one zlib stream."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + width * 4), np.uint8)
    rows[:, 1:] = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)), _chunk(b"IEND", b""))
    return _with_chunks(b"\x89PNG\r\n\x1a\n" + b"".join(parts), metadata)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _with_chunks(png: bytes, metadata: dict[str, Any]) -> bytes:
    """Puts the chunks that Pillow makes of `metadata` behind the header of a PNG."""
    small = io.BytesIO()
    Image.new("L", (1, 1)).save(small, "PNG", **metadata)
    chunks, data, at = b"", small.getvalue(), _AFTER_HEADER
    while at < len(data):
        end = at + 12 + struct.unpack(">I", data[at : at + 4])[0]
        if data[at + 4 : at + 8] in (b"iCCP", b"pHYs", b"eXIf"):
            chunks += data[at:end]
        at = end
    return png[:_AFTER_HEADER] + chunks + png[_AFTER_HEADER:]
