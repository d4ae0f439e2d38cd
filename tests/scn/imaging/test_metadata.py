"""What a file says beside its pixels, where it does not go over as it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scn.imaging.formats import FORMATS, can, format_of
from scn.imaging.image_io import (
    Photograph,
    decode_photograph,
    encode_photograph,
    lost,
    read_photograph,
    write_photograph,
)
from scn.imaging.metadata import bits_of

needs_avif = pytest.mark.skipif(not can(FORMATS["avif"]), reason="this Pillow lacks AVIF")

GREY_PROFILE = bytes(16) + b"GRAY" + bytes(16) + b"acsp" + bytes(92)


@pytest.mark.parametrize(
    ("name", "dtype", "has_alpha", "kept"),
    [
        ("a.png", np.uint8, True, True),
        ("a.png", np.uint16, True, True),
        ("a.jpg", np.uint8, False, True),
        ("a.tif", np.uint8, True, True),
        ("a.tif", np.uint16, False, True),
        ("a.tif", np.uint16, True, False),
        ("a.webp", np.uint8, False, False),
        ("a.avif", np.uint8, True, False),
    ],
)
def test_a_grey_profile_is_in_no_file_with_colours(
    tmp_path: Path, name: str, dtype: Any, has_alpha: bool, kept: bool
) -> None:
    kind = format_of(path := tmp_path / name)
    if not can(kind):
        pytest.skip(f"this Pillow lacks {kind.name}")
    pixels = np.full((32, 40, 1), 90, dtype)
    grey = Photograph(pixels=pixels, alpha=pixels[..., 0] if has_alpha else None, icc_profile=GREY_PROFILE)
    write_photograph(path, grey)
    with Image.open(path) as image:
        assert image.info.get("icc_profile") == (GREY_PROFILE if kept else None)
    note = f"its grey colour profile is left out, as the {kind.name} is RGB"
    assert lost(kind, grey) == ([] if kept else [note])


@needs_avif
@pytest.mark.parametrize(("bits", "flags"), [(8, 0), (10, 0x40), (12, 0x60)])
def test_an_avif_of_more_than_8_bits_is_told(bits: int, flags: int) -> None:
    pixels = np.full((32, 40, 3), 90, np.uint8)
    data = bytearray(encode_photograph(Photograph(pixels=pixels, alpha=None, icc_profile=None), FORMATS["avif"]))
    data[data.index(b"av1C") + 6] |= flags
    depths = data.index(b"pixi") + 9
    data[depths : depths + 3] = bytes([bits] * 3)  # or it is no AVIF for Pillow
    notes = () if bits == 8 else (f"{bits} bits became 8, as Pillow reads no more",)
    assert decode_photograph(bytes(data)).notes == notes


def test_heic_says_its_bits_in_its_18th_byte_for_the_decoder() -> None:
    for depth, bits in ((0xF8, 8), (0xFA, 10), (0xFC, 12)):
        record = bytes([1, 2]) + b"\x20\0\0\0" + b"\xb0" + bytes(5) + bytes([93, 0xF0, 0, 0xFC, 0xFD, depth, 0xF8])
        assert bits_of(b"\0\0\0\x1bhvcC" + record) == bits
    assert bits_of(b"hvcC") == bits_of(b"av1C") == bits_of(b"") == 8


def test_iptc_records_stay_in_jpeg_and_tiff(tmp_path: Path) -> None:
    records = b"\x1c\x02\x78\0\x03abc"
    plain = Photograph(pixels=np.full((32, 40, 3), 90, np.uint8), alpha=None, icc_profile=None, xmp=b"<x:xmpmeta/>")
    for size, kept in ((len(records), True), (65506, True), (65507, False)):
        iptc = records.ljust(size, b"\0")
        write_photograph(tmp_path / "a.jpg", replace(plain, iptc=iptc))
        read = read_photograph(tmp_path / "a.jpg")
        assert (read.iptc, read.xmp) == (iptc if kept else None, plain.xmp)
    for name in ("a.tif", "again.tif"):
        write_photograph(tmp_path / name, replace(plain, iptc=records) if name == "a.tif" else read)
        read = read_photograph(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.getexif()[33723] == records
    write_photograph(tmp_path / "a.png", replace(plain, iptc=records))
