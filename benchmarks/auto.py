"""How often `scn restore --model auto` takes what measures best, on images that no choice was made with.

    python -m benchmarks.auto FOLDER [--images N] [--side PIXELS] [--json FILE]

Parts of N images of a folder get noise or JPEG artifacts, as grey pixels of 8 bits that say nothing of it; each is
restored by every model that ships, and left alone. The choice, a model and its strength, is blind: it sees the pixels
only.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks.measure import Row, parser, table, write_json
from scn import zoo
from scn.core.errors import UserError
from scn.imaging.degradation import jpeg, to_uint8
from scn.imaging.formats import looks_like_an_image
from scn.imaging.image_io import Photograph
from scn.inference.auto import Candidate, choose, examine
from scn.inference.handle import Model
from scn.inference.restore import Options

TITLE = "The blind choice of a model"
CONDITIONS = (
    *(("noise", sigma) for sigma in (0, 5, 10, 15, 20, 25, 35, 50, 70)),
    *(("jpeg", quality) for quality in (5, 10, 20, 30, 40, 60, 70, 80, 90)),
)
NEAR = 0.1
"""Decibels: a choice within them is as good as the best."""


def degraded(image: NDArray[np.uint8], kind: str, level: int, seed: int) -> NDArray[np.uint8]:
    """An image, (H, W), with noise or JPEG artifacts, rounded to 8 bits."""
    if kind == "jpeg":
        return jpeg(image, level)
    return to_uint8((image + np.random.default_rng(seed).normal(0, level, image.shape)) / 255)


def rows(images: Sequence[NDArray[np.uint8]], models: dict[str, Model]) -> Iterator[Row]:
    """Yields a row for each degradation.

    What measures best at full strength, what is taken how often, at which strength (median); how often that is no worse
    than NEAR below the best; gains in dB: of the best on average, of what is taken on average and at worst.
    """
    candidates = [
        Candidate(reference=name, task=model.task.name, level=model.level or 0) for name, model in models.items()
    ]
    for kind, level in tqdm(CONDITIONS, leave=False, disable=None):
        gains: list[dict[str, float]] = []
        taken: list[str] = []
        strengths: list[float] = []
        chosen_gains: list[float] = []
        for number, image in enumerate(images):
            pixels = degraded(image, kind, level, number)
            photograph = Photograph(pixels=pixels[..., None], alpha=None, icc_profile=None)
            chosen = choose(examine(photograph), candidates)
            taken.append(chosen.reference if chosen else "nothing")
            strengths.append(chosen.strength if chosen else 1.0)
            before = _psnr(pixels, image)
            found = {name: _psnr(model.restore(pixels), image) - before for name, model in models.items()}
            gains.append({"nothing": 0.0, **found})
            options = Options(strength=strengths[-1])
            mixed = models[chosen.reference].restore_photograph(photograph, options=options) if chosen else photograph
            chosen_gains.append(_psnr(np.asarray(mixed.pixels[..., 0], np.uint8), image) - before)
        mean = {name: float(np.mean([gain[name] for gain in gains])) for name in gains[0]}
        lost = [max(gain.values()) - own for gain, own in zip(gains, chosen_gains, strict=True)]
        yield {
            "degradation": f"{kind} {level}",
            "best": max(mean, key=lambda name: mean[name]),
            "taken": ", ".join(f"{name} {taken.count(name)}" for name in sorted(set(taken))),
            "strength": float(np.median(strengths)),
            "right": f"{sum(each <= NEAR for each in lost)} of {len(lost)}",
            "best_db": max(mean.values()),
            "gain_db": float(np.mean(chosen_gains)),
            "worst_db": min(chosen_gains),
        }


def _psnr(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """Decibels, at most 99."""
    error = float(np.mean((found.astype(float) - expected) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-5)))


def read(folder: Path, count: int, side: int) -> list[NDArray[np.uint8]]:
    """The middle parts of `count` images of a folder, spread evenly over it, as grey."""
    files = sorted(filter(looks_like_an_image, folder.rglob("*")))
    if len(files) < count:
        raise UserError(f"{folder} holds {len(files)} images, not {count}: ask for fewer, or name another folder.")
    found = []
    for number in range(count):
        file = files[number * len(files) // count]
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L"))
        top, left = ((length - min(side, length)) // 2 for length in pixels.shape)
        found.append(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(TITLE, runs=1)
    arguments.add_argument("folder", type=Path, help="images that no model was trained on")
    arguments.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default: %(default)s)")
    arguments.add_argument("--side", type=int, default=192, metavar="N", help="pixels of each (default: %(default)s)")
    options = arguments.parse_args(argv)
    models = {name: Model(zoo.FOLDER / name) for name in zoo.names()}
    models = {name: model for name, model in models.items() if model.scale == 1}
    found = list(rows(read(options.folder, options.images, options.side), models))
    print(table(found))
    write_json(options.json, TITLE, found)


if __name__ == "__main__":
    main()
