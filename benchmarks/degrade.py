"""The cost of exactness: our bicubic reduction beside Pillow's bare one and beside imresize in NumPy.

    python -m benchmarks.degrade [--json FILE] [--runs N]

Both reductions are timed from array to array, as the project calls them, and from Pillow image to Pillow image, where
nothing is converted; `over_bare_image` compares every time with Pillow's bare one from image to image. The image is
2040x1356 RGB, the size of a photograph of DIV2K, and made from a seed.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from PIL import Image as Pillow

from benchmarks.measure import Row, medians, parser, table, write_json
from scn.imaging.degradation import FIXED_POINT_FACTORS, Image, bicubic_downscale, bicubic_resize_pillow

Candidate = Callable[[], Image | Pillow.Image]

TITLE = "Bicubic reduction, exact and not"
SCALES = (2, 3, 4, 6)  # up to 4, ours is fixed-point arithmetic with Pillow; at 6, float64 in NumPy
SIZE = (1356, 2040)
SLOW_RUNS = 5
"""Rounds of the candidate in NumPy, which takes 40 times as long; timed apart, as its memory slows down others."""


def image(height: int, width: int) -> Image:
    """Makes a uint8 image (H, W, 3) with shading, hard edges and noise; Pillow's time does not depend on the pixels."""
    y, x = np.mgrid[:height, :width] / 40.0
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    shading = np.stack([110 + 60 * np.sin(x + channel) + 50 * np.cos(y - channel) for channel in range(3)], axis=-1)
    edges = np.where(np.sin(x * y)[..., None] > 0.8, 255.0, shading)
    return np.clip(np.rint(edges + noise), 0, 255).astype(np.uint8)


def numpy_imresize(pixels: Image, scale: float) -> Image:
    """MATLAB's imresize in NumPy, written as usual: every tap is gathered as float64, weighted and summed.

    Args:
        pixels: (H, W, C) uint8.
        scale: below 1.
    """
    for axis in (0, 1):
        length = pixels.shape[axis]
        centre = np.arange(1, round(length * scale) + 1) / scale + 0.5 * (1 - 1 / scale)
        taps = np.floor(centre - 2 / scale)[:, None] + np.arange(np.ceil(4 / scale) + 2)
        x = np.abs(scale * (centre[:, None] - taps))
        weights = (1.5 * x**3 - 2.5 * x**2 + 1) * (x <= 1) + (-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2) * (x > 1) * (x <= 2)
        weights /= weights.sum(axis=1, keepdims=True)
        used = weights.any(axis=0)
        mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])
        sources = mirrored[np.mod(taps - 1, 2 * length).astype(int)][:, used]
        gathered = np.swapaxes(pixels, 0, axis)[sources].astype(np.float64)
        values = (weights[:, used, None, None] * gathered).sum(axis=1)
        pixels = np.swapaxes(np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8), 0, axis)
    return pixels


def measure(size: tuple[int, int], scales: Sequence[int], runs: int) -> Iterator[Row]:
    """Times all candidates at each scale; yields a row for each.

    Args:
        size: (H, W) of the image, multiples of the scales.
        scales: factors of the reduction.
        runs: number of rounds.
    """
    array = image(*size)
    for scale in scales:
        candidates = _candidates(array, scale)
        timings = medians(candidates, runs)
        slow: dict[str, Candidate] = {"NumPy, array to array": partial(numpy_imresize, array, 1 / scale)}
        in_numpy = medians(slow, min(runs, SLOW_RUNS))
        exact = numpy_imresize(array, 1 / scale)
        for name, candidate in (candidates | slow).items():
            timing = (timings | in_numpy)[name]
            kind = name.split(", ")[1]
            yield {
                "scale": f"1/{scale}",
                "resize": name,
                "median_ms": timing.median * 1e3,
                "spread": timing.spread,
                "over_bare": timing.over(timings[f"bare, {kind}"]) if name in timings else None,
                "over_bare_image": timing.over(timings["bare, image to image"]) if name in timings else None,
                "faster_than_numpy": next(iter(in_numpy.values())).median / timing.median,
                "differing_percent": float(100 * np.mean(np.asarray(candidate()) != exact)),
            }


def _candidates(array: Image, scale: int) -> dict[str, Candidate]:
    picture = Pillow.fromarray(array)
    height, width = array.shape[:2]

    def bare(source: Pillow.Image) -> Pillow.Image:
        return source.resize((width // scale, height // scale), Pillow.Resampling.BICUBIC)

    candidates: dict[str, Candidate] = {"bare, image to image": lambda: bare(picture)}
    if scale in FIXED_POINT_FACTORS:
        candidates["exact, image to image"] = lambda: bicubic_resize_pillow(picture, Fraction(1, scale))
    candidates["bare, array to array"] = lambda: np.array(bare(Pillow.fromarray(array)))
    candidates["exact, array to array"] = lambda: bicubic_downscale(array, scale)
    return candidates


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__.splitlines()[0], runs=50).parse_args(arguments)
    rows = list(measure(SIZE, SCALES, options.runs))
    print(table(rows))
    write_json(options.json, TITLE, rows)


if __name__ == "__main__":
    main()
