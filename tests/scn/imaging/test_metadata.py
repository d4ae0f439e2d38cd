"""What a file says beside its pixels, where it does not go over as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scn.imaging.formats import can, format_of
from scn.imaging.image_io import Photograph, lost, write_photograph

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
