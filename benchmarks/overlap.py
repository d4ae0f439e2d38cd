"""How reliably data preparation finds training pictures among those that are measured on, and what that takes.

    SCN_CORPORA=FOLDER python -m benchmarks.overlap [--only planted ...] [--photographs N] [--runs N] [--json FILE]

planted: changed copies of the pictures of LIVE1 and BSDS500/val, and small pieces of generated photographs of DIV2K's
size; how many are found, and how many others are taken for them. corpora: all pairs between the training and evaluation
corpora that the presets name, and BSD68 in BSDS500. time: generated photographs beside the evaluation corpora.
"""

import io
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import Row, medians, on_this_machine, parser, table, write_json
from benchmarks.photographs import photograph, write_photographs
from data_prep.fingerprints import Fingerprint, fingerprint, grey
from data_prep.overlap import Index, find_overlaps
from data_prep.placement import agreement
from scn.config.data import CorporaConfig, StorageConfig
from scn.config.params import Params
from scn.core.cpus import cpu_count
from scn.core.ray import stop_ray
from scn.corpora.corpora import Corpus, open_corpus, open_images
from scn.corpora.images import decode
from scn.storage import open_store

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]

PARTS = ("planted", "corpora", "time")
ORIGINALS = ("LIVE1", "BSDS500/val")
TRAINED = ("T91", "BSDS500/train", "BSDS500/test", "Train400")
LARGE = 24
"""Number of generated photographs of which pieces are planted."""
MEASURED = ("Set5", "Set14", "BSDS500/val", "Set12", "BSD68", "LIVE1", "classic5")


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """The picture, saved as JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """The picture in another size, by Pillow's bicubic."""
    height, width = pixels.shape[:2]
    size = round(width * factor), round(height * factor)
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def cropped(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """A piece with a share of the picture's area, at a random place."""
    height, width = (round(side * share**0.5) for side in pixels.shape[:2])
    top, left = rng.integers(pixels.shape[0] - height + 1), rng.integers(pixels.shape[1] - width + 1)
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def square(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """A piece of `side` x `side` pixels, at a random place."""
    top, left = (rng.integers(length - side + 1) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture with noise of sigma 10."""
    return np.clip(pixels + rng.normal(0, 10, pixels.shape), 0, 255).round().astype(np.uint8)


CHANGES: Mapping[str, Change] = {
    "JPEG 95": lambda image, rng: jpeg(image, 95),
    "JPEG 75": lambda image, rng: jpeg(image, 75),
    "JPEG 30": lambda image, rng: jpeg(image, 30),
    "grey": lambda image, rng: grey(image),
    "brighter by a fifth": lambda image, rng: np.minimum(image * 1.2, 255).astype(np.uint8),
    "noise of sigma 10": noisy,
    "mirrored": lambda image, rng: np.ascontiguousarray(image[:, ::-1]),
    "turned by 90 degrees": lambda image, rng: np.rot90(image).copy(),
    "turned by 180 degrees": lambda image, rng: np.rot90(image, 2).copy(),
    "transposed": lambda image, rng: np.ascontiguousarray(image.swapaxes(0, 1)),
    "scaled by 0.5": lambda image, rng: scaled(image, 0.5),
    "scaled by 0.7": lambda image, rng: scaled(image, 0.7),
    "scaled by 1.4": lambda image, rng: scaled(image, 1.4),
    "scaled by 2": lambda image, rng: scaled(image, 2),
    "1/2 of it": lambda image, rng: cropped(image, 1 / 2, rng),
    "1/4 of it": lambda image, rng: cropped(image, 1 / 4, rng),
    "1/10 of it": lambda image, rng: cropped(image, 1 / 10, rng),
    "1/25 of it": lambda image, rng: cropped(image, 1 / 25, rng),
    "1/4, JPEG 75": lambda image, rng: jpeg(cropped(image, 1 / 4, rng), 75),
    "1/4, scaled by 0.5": lambda image, rng: scaled(cropped(image, 1 / 4, rng), 0.5),
    "1/4, scaled by 2": lambda image, rng: scaled(cropped(image, 1 / 4, rng), 2),
    "1/4, mirrored, turned, 0.7, JPEG 75": lambda image, rng: jpeg(
        np.ascontiguousarray(np.rot90(scaled(cropped(image, 1 / 4, rng), 0.7)[:, ::-1])), 75
    ),
}
"""Name of a change -> function of an image and a generator of random numbers."""

OF_LARGE: Mapping[str, Change] = {
    "480x480": lambda image, rng: square(image, 480, rng),
    "480x480, JPEG 75": lambda image, rng: jpeg(square(image, 480, rng), 75),
    "256x256": lambda image, rng: square(image, 256, rng),
    "scaled by 0.25": lambda image, rng: scaled(image, 0.25),
}
"""The same for photographs of 2040x1356 pixels."""


def planted_rows(originals: Sequence[Pixels], changes: Mapping[str, Change] = CHANGES) -> list[Row]:
    """Plants changed copies among training images, then among evaluation images; a row for each change and side."""
    rows: list[Row] = []
    own = Index([_both(image) for image in originals])
    for name, change in changes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        changed = [change(image, rng) for image in originals]
        sides = {"training": (changed, originals, own), "evaluation": (originals, changed, None)}
        for side, (trained, measured, known) in sides.items():
            index = known or Index([_both(image) for image in measured])
            rows.append({"change": name, "planted in": side, **_looked_for(trained, measured, index)})
    return rows


def corpora_rows(params: Params, folder: Path) -> list[Row]:
    """Looks for pairs in the corpora of the presets and prints them; a row for each training corpus."""
    rows: list[Row] = []
    store = open_store("file://store", folder)
    for trained, measured in (*((name, MEASURED) for name in TRAINED), ("BSDS500", ("BSD68",))):
        train = [open_corpus(params, trained)]
        evaluation = [open_corpus(params, name) for name in measured]
        found = find_overlaps(train, evaluation, store)
        rows.append(
            {
                "training": trained,
                "evaluation": " ".join(measured),
                "pairs": _count(train) * _count(evaluation),
                "found": len(found),
                "evaluation images": len({pair.evaluation for pair in found}),
            }
        )
        for pair in found[:10]:
            print(f"{pair.train} shows {pair.evaluation} ({pair.how})")
    return rows


def time_rows(params: Params, folder: Path, count: int, runs: int) -> list[Row]:
    """Times the search among generated photographs of 2040x1356 pixels, beside only decoding them.

    A row for a first search and one for a later one, each in this process and with a worker for every CPU.
    """
    write_photographs(folder / "photographs", count)
    train = [open_images(params, str(folder / "photographs"))]
    evaluation = [open_corpus(params, name) for name in MEASURED]
    find_overlaps([], evaluation, open_store("file://known", folder))  # the sets that are measured on are known
    new = folder / "new"

    def search(url: str, workers: int) -> None:
        assert not find_overlaps(train, evaluation, open_store(url, folder), workers)

    def first(workers: int) -> None:
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(folder / "known", new)
        search("file://new", workers)

    rows: list[Row] = []
    for workers in (0, cpu_count()):
        search("file://known-now", workers)  # starts the workers
        taken = medians(
            {
                "decoding alone, one process": partial(_decoded, train),
                "first search": partial(first, workers),
                "later search": partial(search, "file://new", workers),
            },
            runs,
            warm_up=0,
        )
        stop_ray()
        rows += [
            {
                "what": name,
                "workers": workers,
                "training images": count,
                "evaluation images": _count(evaluation),
                "median_s": timing.median,
                "ms per training image": timing.median * 1e3 / count,
            }
            for name, timing in taken.items()
        ]
    return rows


def main() -> None:
    arguments = parser(__doc__.partition("\n")[0], runs=3)
    arguments.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    arguments.add_argument("--photographs", type=int, default=100, metavar="N", help="for time (default: %(default)s)")
    chosen = arguments.parse_args()
    on_this_machine()
    every: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        params = Params(path=folder / "params.yaml", storage=StorageConfig(), corpora=CorporaConfig(), experiments={})
        for part in chosen.only:
            if part == "planted":
                corpora = [open_corpus(params, name) for name in ORIGINALS]
                rows = planted_rows([decode(image.read(), image.path)[0] for one in corpora for image in one.images])
                rows += planted_rows([photograph(seed) for seed in range(LARGE)], OF_LARGE)
            elif part == "corpora":
                rows = corpora_rows(params, folder)
            else:
                rows = time_rows(params, folder, chosen.photographs, chosen.runs)
            print(table(rows), end="\n\n")
            every += rows
    write_json(chosen.json, "Training pictures among those that are measured on", every)


def _both(image: Pixels) -> list[Fingerprint]:
    return [fingerprint(image), fingerprint(np.ascontiguousarray(image[:, ::-1]))]


def _looked_for(trained: Sequence[Pixels], measured: Sequence[Pixels], index: Index) -> Row:
    """How many training images were found in the evaluation image of the same number, and how many in others."""
    found = wrong = suspected = 0
    correlations, details = [], []
    for number, image in enumerate(trained):
        for other, placement in index.placements(fingerprint(image)):
            suspected += 1
            agreed = agreement(grey(image), grey(measured[other]), placement)
            if agreed and agreed.same_picture:
                found += other == number
                wrong += other != number
            if agreed and other == number:
                correlations.append(agreed.correlation)
                details.append(agreed.detail)
    return {
        "found": f"{found} of {len(trained)}",
        "others": wrong,
        "suspected": suspected,
        "least correlation": min(correlations, default=None),
        "least detail": min(details, default=None),
    }


def _decoded(corpora: Sequence[Corpus]) -> None:
    for corpus in corpora:
        for image in corpus.images:
            decode(image.read(), image.path)


def _count(corpora: Sequence[Corpus]) -> int:
    return sum(len(corpus.images) for corpus in corpora)


if __name__ == "__main__":
    main()
