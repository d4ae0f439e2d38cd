"""Photographs of the scikit-image package, and changed copies of them in both sets of the small project."""

from pathlib import Path

import numpy as np
from PIL import Image

from scn.corpora.places import package_folder


def photograph(name: str) -> np.ndarray:
    """A photograph of the scikit-image package, (H, W) or (H, W, 3)."""
    return np.array(Image.open(package_folder("skimage") / "data" / f"{name}.png"))


def quarter(pixels: np.ndarray) -> np.ndarray:
    """The middle of an image, with half of its sides."""
    height, width = pixels.shape[:2]
    return pixels[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2]


def plant_copies() -> dict[str, str]:
    """Puts changed copies of evaluation images among the training images; returns name -> what they show."""
    for name in ("coffee", "camera", "astronaut"):
        Image.fromarray(photograph(name)).save(f"tests/{name}.png")
    Image.fromarray(photograph("coffee")).save("photos/again.bmp")
    Image.fromarray(quarter(photograph("coffee"))).save("photos/piece.png")
    Image.fromarray(photograph("camera")).save("photos/sub/camera.jpg", quality=95)
    Path("photos/same.png").write_bytes(Path("tests/astronaut.png").read_bytes())
    return {
        "photos/again.bmp": "tests/coffee.png (the same pixels)",
        "photos/piece.png": "tests/coffee.png (25% of it, correlation 1.00)",
        "photos/same.png": "tests/astronaut.png (the same file)",
        "photos/sub/camera.jpg": "tests/camera.png (a copy, correlation 1.00)",
    }
