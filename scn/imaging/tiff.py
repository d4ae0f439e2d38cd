"""TIFF by tifffile: finds a file's picture, reads it if it has 16 bits per channel or alpha, and writes all.

Pillow reads the other pictures of 8 bits; of 16 bits per channel it gives 8, or grey without what the file says of it,
and of alpha it knows RGB's, in one plane. It writes no EXIF data beside compressed pixels. tifffile is imported where
it is used.
"""

import io
import logging
import lzma
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scn.core import memory
from scn.core.errors import UserError
from scn.imaging.formats import opened, several

if TYPE_CHECKING:
    from tifffile import TiffPage

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KIND, _OLD_KIND, _INKS, _XMP, _IPTC, _ICC_PROFILE, _EXIF, _GPS = 254, 255, 332, 700, 33723, 34675, 34665, 34853
_REDUCED, _MASK = 1, 4
"""Bits of _KIND: a smaller version of another page, and a mask for one."""
_DEFLATE, _PACK_BITS, _LZMA = (8, 32946), 32773, 34925
_BY_US = {*_DEFLATE, _PACK_BITS, _LZMA}
"""Compressions that are unpacked here: tifffile unpacks whatever comes of a strip, and it may be a thousandfold."""
_LZMA_MEMORY = 2**28
"""Bytes that unpacking LZMA may take beside its result; files say how many, and even `xz -9` needs a quarter."""
_BY_PILLOW = {5, 50000}
"""LZW and Zstandard, for which tifffile wants another package."""
_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}
"""Photometric interpretation -> channels: white is 0, black is 0, RGB, inks."""
_SEPARATED, _YCBCR = 5, 6

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it warns of would stand beside our sentence


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Pixels as they are stored: not turned upright."""

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    """(H, W, C): grey or RGB, or the four inks if `inks`; then alpha, which colours are not multiplied by."""
    inks: bool
    tags: Mapping[int, Any]
    """What the file says beside them: number -> value, a rational one as a pair."""
    notes: tuple[str, ...]
    """What was left out, a phrase each."""


def is_tiff(data: bytes) -> bool:
    """Returns True if a file begins like a TIFF, or a BigTIFF."""
    return data[:4] in _MAGIC


def picture(file: BinaryIO, name: object) -> "TiffPage | None":
    """The page that holds a file's picture; None where tifffile finds none, which Pillow may.

    Previews and masks don't count.

    Raises:
        UserError: if there are several pictures, or a preview only; errors call the file `name`.
    """
    from tifffile import TiffFile, TiffPage

    found: list[TiffPage] = []
    previews: list[TiffPage] = []
    try:
        for page in TiffFile(file).pages:
            assert isinstance(page, TiffPage)
            small = page.tags.valueof(_KIND, 0) & (_REDUCED | _MASK) or page.tags.valueof(_OLD_KIND, 1) == 2
            (previews if small else found).append(page)
            if len(found) > 1:
                break
        if not found and len(previews) == 1 and not previews[0].pages:  # a lone page, whatever it calls itself
            return previews[0]
    except Exception:  # anything, on a damaged file
        return None
    if len(found) > 1:
        raise UserError(several(name))
    if found:
        return found[0]
    if previews:
        raise UserError(
            f"{name} holds previews only where pictures are, as a camera's raw files do: develop it, and save it as "
            "TIFF."
        )
    return None


def is_for_us(page: "TiffPage", name: object) -> bool:
    """Returns True if `decode` is to read a page, as it has 16 bits per channel or alpha; False if Pillow is.

    Raises:
        UserError: for numbers that are no photograph's, and colours that Pillow would take for others.
    """
    bits = _bits(page)
    if page.sampleformat == 3:
        raise UserError(f"{name} has floating-point pixels: save it with 16 bits per channel.")
    if page.sampleformat not in (1, 4) or bits not in (*range(1, 9), 16):
        kind = {2: "signed ", 5: "complex ", 6: "complex "}.get(page.sampleformat, "")
        raise UserError(f"{name} has {kind}values of {bits} bits: save it with 8 or 16 unsigned bits per channel.")
    if _photometric(page) == _YCBCR and page.compression == 1:  # Pillow takes them for RGB, of four bytes a pixel
        raise UserError(f"{name} {_refusal(page)}.")
    return bits == 16 or (bits == 8 and bool(page.extrasamples) and not _refusal(page))


def _bits(page: "TiffPage") -> int:
    return page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)


def _photometric(page: "TiffPage") -> int:
    return int(page.photometric) if page.photometric is not None else 2 if page.samplesperpixel > 2 else 1


def _refusal(page: "TiffPage") -> str:
    """Why `decode` can't read a page, the end of a sentence; "" if it can."""
    if _photometric(page) not in _COLOURS or page.tags.valueof(_INKS, 1) != 1 or page.imagedepth != 1:
        called = getattr(page.photometric, "name", str(page.photometric))
        return f"has colours of the kind {called}: convert it to grey or RGB first"
    if page.compression not in {1} | _BY_US | _BY_PILLOW or page.predictor not in (1, 2) or page.fillorder != 1:
        called = getattr(page.compression, "name", str(page.compression))
        return (
            f"is compressed by {called}, which is not read with {_bits(page)} bits: save it with LZW, deflate or none"
        )
    return ""


def decode(page: "TiffPage", data: bytes, name: object) -> Decoded:
    """Decodes a page of 8 or 16 bits per channel: chunky or planar, in strips or tiles; white is 255 or 65535.

    Raises:
        UserError: if it is compressed, or has colours, as nothing here reads.
        ValueError, and what else decoders raise: if it is damaged.
    """
    if refusal := _refusal(page):
        raise UserError(f"{name} {refusal}.")
    photometric = _photometric(page)
    colours = _COLOURS[photometric]
    ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=True) if count]
    if page.compression != 1 and (len(ends) < np.prod(page.chunked) or max(ends) > len(data)):
        raise ValueError("the pixels end too early")
    values = page.asarray(squeeze=False) if page.compression == 1 else _unpacked(page, data, name)
    planes, _, height, width, _ = values.shape
    values = np.moveaxis(values[:, 0], 0, 2).reshape(height, width, -1) if planes > 1 else values[0, 0]
    if values.shape[-1] < colours:
        raise ValueError(f"it has {values.shape[-1]} channels, and its colours need {colours}")
    extras = [int(each) for each in page.extrasamples]
    alpha = next((place for place, each in enumerate(extras) if each in (1, 2)), None)
    left_out = values.shape[-1] - colours - (alpha is not None)
    notes = (f"{left_out} of its channels left out, as neither colours nor alpha",) if left_out else ()
    kind: type[np.uint8] | type[np.uint16] = np.uint8 if values.dtype.itemsize == 1 else np.uint16
    pixels: Any = np.array(values[..., :colours], kind)
    white = np.iinfo(kind).max
    tags = {tag.code: tag.value for tag in page.tags}
    if photometric == 0:
        np.subtract(white, pixels, out=pixels)
    if alpha is not None:
        opacity = values[..., colours + alpha, None].astype(kind)
        if extras[alpha] == 1:
            _straighten(pixels, opacity, white)
        pixels = np.concatenate([pixels, opacity], axis=-1)
    return Decoded(pixels=pixels, inks=photometric == _SEPARATED, tags=tags, notes=notes)


def _straighten(pixels: NDArray[Any], opacity: NDArray[Any], white: int) -> None:
    """Divides colours, (H, W, C), in place by the opacity, (H, W, 1), that they had been multiplied by."""
    for colours, wide in zip(pixels, opacity.astype(np.uint32), strict=True):  # by rows, for the sake of memory
        divided = (colours.astype(np.uint32) * white + wide // 2) // np.maximum(wide, 1)
        colours[:] = np.minimum(divided, white)


def _unpacked(page: "TiffPage", data: bytes, name: object) -> NDArray[Any]:
    """The values of a page, of its `shaped`; predictor and byte order are tifffile's."""
    code, rows = int(page.compression), page.tilelength or page.rowsperstrip
    strips = -(-page.imagelength // rows)
    channels = page.samplesperpixel if page.planarconfig == 1 else 1
    size = _bits(page) // 8
    largest = (rows if page.is_tiled else min(rows, page.imagelength)) * (page.tilewidth or page.imagewidth)
    # A tile may be larger than its image; it is there packed, unpacked and as values.
    memory.require(4 * largest * channels * size, f"{name} has parts of {largest / 1e6:,.0f} megapixels")
    values: NDArray[Any] = np.empty(page.shaped, f"u{size}")
    page.compression = 1  # what is decoded below is unpacked
    for index in range(int(np.prod(page.chunked))):
        start, count = page.dataoffsets[index], page.databytecounts[index]
        here = rows if page.is_tiled else min(rows, page.imagelength - index % strips * rows)
        packed, width = data[start : start + count], page.tilewidth or page.imagewidth
        if code in _BY_PILLOW:
            row = _unpacked_row(packed, code, here * width * channels * size)
        else:  # the last strip may have as many rows as the others
            row = _unpacked_here(packed, code, largest * channels * size)
        part, (plane, _, top, left, _), _ = page.decode(row, index)
        assert part is not None
        place = values[plane, 0, top : top + part.shape[1], left : left + part.shape[2]]
        place[:] = part[0, : place.shape[0], : place.shape[1]]
    return values


def _unpacked_here(packed: bytes, compression: int, most: int) -> bytes:
    """The bytes of a strip or tile, `most` at most. Raises an error of the decoder, or ValueError, if it is damaged.

    As many again may follow, as in a last strip that is filled up; they are read for the checksum behind them.
    """
    if compression == _PACK_BITS:
        return _unpacked_bits(packed, most)
    if compression == _LZMA:
        by_lzma = lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)
        found = by_lzma.decompress(packed, most)
        if not by_lzma.eof:
            by_lzma.decompress(b"", most + 1)
        whole = by_lzma.eof
    else:
        inflate = zlib.decompressobj()
        found = inflate.decompress(packed, most)
        if not inflate.eof:
            inflate.decompress(inflate.unconsumed_tail, most + 1)
        whole = inflate.eof
    if not whole:
        raise ValueError("the pixels end too early, or too late")
    return found


def _unpacked_bits(packed: bytes, most: int) -> bytes:
    """What PackBits made of `most` bytes at most."""
    found, at = bytearray(), 0
    while at < len(packed) and len(found) < most:
        count = packed[at]
        if count < 128:
            found += packed[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            found += packed[at + 1 : at + 2] * (257 - count if count > 128 else 0)
            at += 2 if count > 128 else 1
    return bytes(found[:most])


def _unpacked_row(packed: bytes, compression: int, size: int) -> bytes:
    """The `size` bytes of a strip or tile, which Pillow's libtiff is given as one row of grey pixels."""
    tags = ((256, size), (257, 1), (258, 8), (259, compression), (262, 1), (273, 122), (277, 1), (278, 1))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (279, len(packed))))
    file = struct.pack("<4sIH", b"II*\0", 8, 9) + entries + bytes(4) + packed
    with opened(io.BytesIO(file)) as image:
        return image.tobytes()


def encode(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
) -> bytes:
    """A TIFF, deflated.

    Args:
        pixels: (H, W, C), C = 1 to 4: grey, grey and alpha, RGB, RGB and alpha.
        dpi: pixels per inch.
        exif: what Pillow's Exif.tobytes gives.
    """
    from tifffile import imwrite

    if pixels.shape[-1] == 2 and pixels.dtype == np.uint16:  # hardly anything reads it
        pixels = pixels[..., [0, 0, 0, 1]]
    channels = pixels.shape[-1]
    about = Image.Exif()
    if exif:
        about.load(exif)
    values = ((_ICC_PROFILE, icc_profile), (_XMP, xmp), (_IPTC, None if _IPTC in about else iptc))
    beside = [(tag, 7, len(value), value, True) for tag, value in values if value]
    order: Literal["<", ">"] = ">" if about.endian == ">" else "<"
    file = io.BytesIO()
    imwrite(
        file,
        pixels if channels > 1 else pixels[..., 0],
        byteorder=order,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        resolution=dpi,
        resolutionunit="INCH" if dpi else None,
        extratags=[*beside, *_entries(about, order)],
        metadata=None,
        software=False,
    )
    return _with_folders(file, about, order)


def _entries(exif: Image.Exif, order: str) -> Sequence[Any]:
    """EXIF data of a TIFF's own directory, as tifffile takes it; its folders are 0, as their place is not known yet."""
    directory = exif.tobytes()[6:]
    found: list[tuple[Any, ...]] = []
    for at in range(10, 10 + 12 * struct.unpack_from(order + "H", directory, 8)[0], 12):
        tag, kind, count = struct.unpack_from(order + "HHI", directory, at)
        size = count * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}.get(kind, 0)
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", directory, at + 8)[0]
        if folder := {_EXIF: "ExifTag", _GPS: "GPSTag"}.get(tag):  # tifffile refuses the number
            found.append((folder, 4, 1, 0, True))
        elif size:
            found.append((tag, kind, count, directory[start : start + size], True))
    return found


def _with_folders(file: io.BytesIO, exif: Image.Exif, order: str) -> bytes:
    """Puts the folders of EXIF data behind a TIFF, and their places into its directory."""
    end = file.seek(0, io.SEEK_END)
    if not any(folder in exif for folder in (_EXIF, _GPS)) or end >= 2**32 - 2**20:
        return file.getvalue()
    directory = exif.tobytes(end + end % 2)[14:]
    file.write(bytes(end % 2) + directory)
    whole = file.getbuffer()
    wide = struct.unpack_from(order + "H", whole, 2)[0] == 43  # BigTIFF
    for at in range(2, 2 + 12 * struct.unpack_from(order + "H", directory)[0], 12):
        tag, _, _, place = struct.unpack_from(order + "HHII", directory, at)
        if tag in (_EXIF, _GPS):
            entry = struct.pack(order + ("HHQI" if wide else "HHII"), tag, 4, 1, 0)
            found = bytes(whole[: 2**20]).find(entry)
            struct.pack_into(order + "I", whole, found + len(entry) - 4, place)
    return bytes(whole)
