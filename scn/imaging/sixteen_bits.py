"""PNG of 16 bits per channel: Pillow reads and writes grey ones only, so their pixels go through OpenCV.

OpenCV is imported where it is used, as it is large.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scn.imaging.formats import opened

_AFTER_HEADER = 8 + 25
"""Bytes of a PNG's signature and header."""


def decode(data: bytes) -> NDArray[np.uint16]:
    """Decodes a PNG of 16 bits per channel, as it is stored (not turned upright).

    Returns:
        (H, W, C): grey, RGB (of grey and alpha, too), or RGB and alpha.
    Raises:
        ValueError, and what Pillow raises: if it is damaged, or no file of 16 bits per channel.
    """
    import cv2

    with opened(io.BytesIO(data)) as image:
        image.load()  # OpenCV, and libpng in it, would tell of damage on the standard error
    del image
    pixels = cv2.imdecode(np.frombuffer(_pixels_only(data), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("its pixels can't be decoded" if pixels is None else f"its pixels are {pixels.dtype}")
    if pixels.ndim == 2:
        return pixels.astype(np.uint16, copy=False)[..., None]
    return np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]], np.uint16)


def _pixels_only(png: bytes) -> bytes:
    """The chunks of a PNG that pixels are made of. Raises ValueError if a checksum of theirs is wrong."""
    found, at = [png[:8]], 8
    while at + 12 <= len(png):
        size, name = struct.unpack_from(">I4s", png, at)
        chunk = png[at : at + 12 + size]
        if name in (b"IHDR", b"tRNS", b"IDAT"):
            if chunk[-4:] != struct.pack(">I", zlib.crc32(chunk[4:-4])):
                raise ValueError(f"the checksum of a chunk {name.decode()} is wrong")
            found.append(chunk)
        at += len(chunk)
    return b"".join((*found, _chunk(b"IEND", b"")))


def encode_png(pixels: NDArray[np.uint16], **metadata: Any) -> bytes:
    """A PNG of 16 bits per channel.

    Args:
        pixels: (H, W, C), C = 1 to 4: grey, grey and alpha, RGB, RGB and alpha.
        metadata: what Pillow's `save` takes: exif, dpi, icc_profile, pnginfo.
    """
    import cv2

    if pixels.shape[-1] == 2:  # OpenCV has no grey with alpha
        return _grey_alpha_png(pixels, metadata)
    done, data = cv2.imencode(".png", pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]] if pixels.shape[-1] > 2 else pixels)
    assert done
    return _with_chunks(data.tobytes(), metadata)


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
        if data[at + 4 : at + 8] in (b"iCCP", b"pHYs", b"eXIf", b"tEXt", b"iTXt"):
            chunks += data[at:end]
        at = end
    return png[:_AFTER_HEADER] + chunks + png[_AFTER_HEADER:]
