"""TensorBoard's event files: records of protocol buffers, of which curves and images need a dozen fields.

The writers that exist hand events to a thread, which ends when the disk is full; then whoever logs waits for ever.
Here an error is raised where it happens, a point can be seen at once, and there is nothing to install.
Format: tensorflow/core/lib/io/record_writer.h; event.proto and summary.proto in tensorflow/core.
"""

import io
import struct
import time
from pathlib import Path

from PIL import Image as Pillow

from scn.shards.samples import Image

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # how a field is written


class Events:
    """A new event file in a folder, which is made. Every method raises OSError when the disk fails."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time():.0f}.scn"
        self._write(_bytes(3, b"brain.Event:2"))

    def scalar(self, step: int, tag: str, value: float) -> None:
        self._summary(step, _bytes(1, tag.encode()) + _field(2, _FOUR_BYTES) + struct.pack("<f", value))

    def image(self, step: int, tag: str, image: Image) -> None:
        """An image, uint8 (H, W) or (H, W, 3)."""
        png = io.BytesIO()
        Pillow.fromarray(image).save(png, "PNG")
        height, width, channels = (*image.shape, 1)[:3]
        content = _number(1, height) + _number(2, width) + _number(3, channels) + _bytes(4, png.getvalue())
        self._summary(step, _bytes(1, tag.encode()) + _bytes(4, content))

    def _summary(self, step: int, value: bytes) -> None:
        self._write(_number(2, step) + _bytes(5, _bytes(1, value)))

    def _write(self, fields: bytes) -> None:
        event = _field(1, _EIGHT_BYTES) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        with self._path.open("ab") as file:
            file.write(length + _checksum(length) + event + _checksum(event))


def _field(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(field: int, value: int) -> bytes:
    return _field(field, _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _field(field, _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; the eighth says that more follow."""
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def _checksum(data: bytes) -> bytes:
    """CRC-32C, turned and shifted, so that a checksum of data that hold checksums is one too."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The cyclic redundancy check of Castagnoli et al. 1993, as in iSCSI (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_remainder(byte) for byte in range(256)]
