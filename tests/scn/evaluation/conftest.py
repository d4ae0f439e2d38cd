"""Images to measure on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path, photograph: Callable[..., Any]) -> Path:
    """Two colour photographs, one of them in a sub-folder and of odd size."""
    path = tmp_path / "photographs"
    (path / "sub").mkdir(parents=True)
    Image.fromarray(photograph(40, 48)).save(path / "a.png")
    Image.fromarray(photograph(45, 51)).save(path / "sub" / "b.png")
    return path
