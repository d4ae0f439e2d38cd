"""Generates images with the size, the detail and the compressibility of photographs; none is committed."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scn.core.cpus import cpu_count

HEIGHT, WIDTH = 1356, 2040
"""Usual height and width of a DIV2K image in pixels."""


def photograph(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Generates a uint8 image (height, width, 3): detail of every size, the coarser the stronger, edges, some noise."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 9):
        cells = rng.normal(0, 1, (2 + height * 2**octave // 2048, 2 + width * 2**octave // 2048, 3))
        grid = Image.fromarray(np.uint8(np.clip(128 + 40 * cells, 0, 255)))
        smooth = octave % 3  # every third octave has edges
        layer = grid.resize((width, height), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
        canvas += (np.asarray(layer, np.float32) - 128) * 2.5 / 1.6**octave
    canvas += 1.5 * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas + 118, 0, 255).astype(np.uint8)


def write_photographs(folder: Path, count: int, height: int = HEIGHT, width: int = WIDTH, first: int = 0) -> None:
    """Writes `count` different PNG files to `folder`, from number `first` on; files that exist already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(first, first + count) if not (folder / f"{i:04}.png").exists()]
    with ProcessPoolExecutor(cpu_count()) as pool:
        list(pool.map(partial(_write, folder, height, width), missing, chunksize=4))


def _write(folder: Path, height: int, width: int, number: int) -> None:
    image = Image.fromarray(photograph(number, height, width))
    temporary = folder / f".{number:04}.tmp"
    image.save(temporary, "PNG", compress_level=1)
    temporary.rename(folder / f"{number:04}.png")
