"""A folder of small photographs, made where a test needs it."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """uint8 (H, W, 3), or (H, W) for one channel: ramps with noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, channels))
    pixels = (noise + (2 * x + 3 * y + 20 * seed)[..., None] % 190).astype(np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


SIZES = {"a.png": (41, 52), "sub/b.png": (40, 40), "c.bmp": (64, 33), "sub/d.PNG": (50, 37), "e.png": (36, 60)}


def write_photos(folder: Path, names: list[str]) -> None:
    for name in names:
        seed = sorted(SIZES).index(name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, *SIZES[name], channels=1 if name == "c.bmp" else 3)).save(path)
