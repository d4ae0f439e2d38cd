"""HEIC, as phones write it: what the file says beside its pixels survives, from it and into it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from scn.imaging.image_io import read_photograph, write_photograph

heif = pytest.importorskip("pillow_heif", reason="needs the extra heif: pip install 'scn[heif]'")

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta><rdf:Description xmp:Rating="4" tiff:Orientation="%d"/></x:xmpmeta>'


@pytest.mark.parametrize("suffix", [".heic", ".jpg", ".png", ".webp", ".tif"])
def test_exif_data_xmp_and_profile_come_along(tmp_path: Path, photograph: Callable[..., Any], suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0xA002: 96, 0xA003: 64})
    heif.register_heif_opener()
    source = tmp_path / "in.heic"
    pixels = photograph(64, 96)
    about = {"exif": exif.tobytes(), "xmp": XMP % 6, "icc_profile": PROFILE}
    Image.fromarray(pixels).save(source, quality=-1, chroma=444, **about)
    read = read_photograph(source)
    upright = np.rot90(pixels, -1).astype(int)
    assert read.pixels.shape == (96, 64, 3)
    assert np.abs(read.pixels - upright).mean() < 3
    assert read.icc_profile == PROFILE
    # pillow-heif takes the orientation out of the packet, as it has turned the pixels
    assert read.xmp in (XMP % 1, XMP.replace(b'tiff:Orientation="%d"', b""))
    write_photograph(tmp_path / f"out{suffix}", replace(read, pixels=photograph(192, 128)))
    again = read_photograph(tmp_path / f"out{suffix}")
    assert again.pixels.shape == (192, 128, 3)  # not turned once more
    assert (again.xmp, again.icc_profile) == (read.xmp, PROFILE)
    with Image.open(tmp_path / f"out{suffix}") as image:
        found = image.getexif()
        assert (found[0x010F], found.get(0x0112, 1)) == ("Camera", 1)
        inside = found.get_ifd(0x8769)
        assert (inside[0x9003], inside[0xA002], inside[0xA003]) == ("2020:01:01 00:00:00", 128, 192)
