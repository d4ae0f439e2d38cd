"""Patches per second, beside a data set that opens two PNG files for each patch.

    python -m benchmarks.feeding [--device cuda] [--json FILE] [--runs N] [--images N]

Patches are 48x48 pixels, their targets 96x96, in batches of 16, cut from generated images of 2040x1356 pixels, turned
and mirrored in 8 ways, float32 on the device. The conventional way is a torch Dataset that opens an image and its
degraded version with Pillow for every patch, behind a DataLoader with a process per core. A run of `stream` is a whole
epoch of 1000 patches per image as in the SCN paper: it opens the feed, reads and hashes all shards, from a folder and
without a cache, and has memory for half of the images, so that it goes through several groups. `resident` reads all
images before it is timed, which takes start_s; the cost of a stream with fewer patches per image follows from it.
`share_of_step_%` compares with a training step of SCN, 16 blocks of 32 units, alone on this device.
"""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks import model
from benchmarks.measure import Row, Timing, medians, parser, table, write_json
from benchmarks.photographs import HEIGHT, WIDTH
from benchmarks.shards import sized, write_project
from data_prep.prepare import make_manifests
from scn.config.params import Experiment, Params
from scn.config.train import TrainConfig
from scn.core.cpus import cpu_count
from scn.data import Feed, open_feed
from scn.imaging.degradation import bicubic_downscale
from scn.inference.precision import Precision, has_bfloat16
from scn.shards.manifest import TrainingManifest
from scn.storage import open_store

TITLE = "Patches from files and from shards"
SCALE, BATCH, PATCH = 2, 16, 48
PATCHES_PER_IMAGE = 1000
FILE_BATCHES, RESIDENT_BATCHES = 16, 500
"""Batches of a run from PNG files, and of a run of `resident`."""
SIZE = HEIGHT, WIDTH
WORKERS = cpu_count()
"""Processes of the DataLoader."""
CONVENTIONAL = f"PNG files, DataLoader of {WORKERS} processes"


class Candidate(NamedTuple):
    """A way to make batches of patches."""

    run: Callable[[], object]
    """Makes the batches of one run."""
    batches: int
    """Number of batches of a run."""
    start_s: float | None = None
    """Seconds that were spent before the first run, if they are measured."""


class PngPairs(Dataset[tuple[Tensor, Tensor]]):
    """The usual data set: every sample opens the PNG files of an image and its degraded version and cuts one patch."""

    def __init__(self, hr: Path, lr: Path) -> None:
        self.pairs = [(path, lr / path.name) for path in sorted(hr.glob("*.png"))]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        hr, lr = (np.asarray(Image.open(path)) for path in self.pairs[index])
        y, x = (int(torch.randint(side - PATCH + 1, ())) for side in lr.shape[:2])
        symmetry = int(torch.randint(8, ()))
        degraded = _turned(lr[y : y + PATCH, x : x + PATCH], symmetry)
        y, x, side = y * SCALE, x * SCALE, PATCH * SCALE
        return degraded, _turned(hr[y : y + side, x : x + side], symmetry)


def _turned(patch: np.ndarray, symmetry: int) -> Tensor:
    patch = patch[:, ::-1] if symmetry & 1 else patch
    patch = patch[::-1] if symmetry & 2 else patch
    patch = patch.transpose(1, 0, 2) if symmetry & 4 else patch
    return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1))).float().div_(255)


def conventional(root: Path, device: torch.device) -> Candidate:
    """Patches from PngPairs, by a DataLoader with WORKERS processes."""
    data = PngPairs(root / "photographs", root / "degraded")
    # As many samples as a run takes, so that nothing is made ahead while another candidate is timed.
    sampler = RandomSampler(data, replacement=True, num_samples=FILE_BATCHES * BATCH)
    loader = DataLoader(data, BATCH, sampler=sampler, num_workers=WORKERS, persistent_workers=WORKERS > 0)

    def run() -> None:
        for degraded, target in loader:
            degraded.to(device), target.to(device)
        _finish(device)

    return Candidate(run, FILE_BATCHES)


def resident(root: Path, manifest: TrainingManifest, experiment: Experiment, device: torch.device) -> Candidate:
    """Patches from the project's feed, with all images in memory before the first run."""
    feed = _open(root, manifest, _recipe(experiment, group_mib=None), device)
    start = perf_counter()
    feed.prepare(0)
    _finish(device)
    started, steps = perf_counter() - start, itertools.count()

    def run() -> None:
        for _ in range(RESIDENT_BATCHES):
            feed.batch(next(steps))
        _finish(device)

    return Candidate(run, RESIDENT_BATCHES, started)


def stream(root: Path, manifest: TrainingManifest, experiment: Experiment, device: torch.device) -> Candidate:
    """Patches of a whole epoch from the project's feed, which reads the shards in groups of half the images."""
    images = SIZE[0] * SIZE[1] * 3 * (1 + 1 / SCALE**2) * manifest.images
    made = _recipe(experiment, group_mib=max(1, int(images / 2) >> 20) / 2)
    epoch = made.train.steps(manifest.images)

    def run() -> None:
        feed = _open(root, manifest, made, device)
        for step in range(epoch):
            feed.batch(step)
        _finish(device)
        feed.close()

    return Candidate(run, epoch)


def rows(root: Path, params: Params, device: torch.device, runs: int) -> list[Row]:
    """Times all ways to make patches, and a training step; returns a row for each way."""
    (manifest, _), _ = make_manifests(params, "sr-x2", store_url="file://store", workers=0)
    experiment = params.experiment("sr-x2")
    candidates = {
        CONVENTIONAL: conventional(root, device),
        "resident": resident(root, manifest, experiment, device),
        "stream": stream(root, manifest, experiment, device),
    }
    precision: Precision = "bfloat16" if device.type == "cuda" and has_bfloat16(device) else "float32"
    step = model.start("training step", model.Candidate("ours", precision), device)

    runnable = {name: candidate.run for name, candidate in candidates.items()} | {"step": model.finished(step, device)}
    taken = medians(runnable, runs)
    per_batch = {name: _each(taken[name], candidate.batches) for name, candidate in candidates.items()}
    step_s = taken["step"].median
    return [
        {
            "patches from": name,
            "patches_per_s": BATCH / timing.median,
            "spread_%": 100 * timing.spread,
            "times_as_fast": per_batch[CONVENTIONAL].over(timing),
            "batch_ms": 1e3 * timing.median,
            "step_ms": 1e3 * step_s,
            "share_of_step_%": 100 * timing.median / (timing.median + step_s),
            "start_s": candidates[name].start_s,
            "patches_per_image": None if name != "stream" else PATCHES_PER_IMAGE,
            "images": manifest.images,
            "shards": None if name == CONVENTIONAL else len(manifest.shards),
        }
        for name, timing in per_batch.items()
    ]


def write_degraded(root: Path) -> None:
    """Writes the degraded images as PNG files into `root`/degraded, for the conventional way."""
    (root / "degraded").mkdir(exist_ok=True)
    for path in (root / "photographs").glob("*.png"):
        if not (degraded := root / "degraded" / path.name).exists():
            Image.fromarray(bicubic_downscale(np.asarray(Image.open(path)), SCALE)).save(degraded, compress_level=1)


def _open(root: Path, manifest: TrainingManifest, experiment: Experiment, device: torch.device) -> Feed:
    return open_feed(open_store("file://store", root), manifest, experiment, device, cache=None)


def _recipe(experiment: Experiment, **train: object) -> Experiment:
    many = 10**6 if train["group_mib"] is None else 1
    common = {"batch_size": BATCH, "patch_size": PATCH, "patches_per_image": PATCHES_PER_IMAGE, "epochs": many}
    common["hold_epochs"] = 0
    return experiment.model_copy(update={"train": TrainConfig.model_validate({**common, **train})})


def _each(timing: Timing, batches: int) -> Timing:
    return Timing(seconds=tuple(seconds / batches for seconds in timing.seconds))


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(__doc__, runs=5)
    arguments.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu (the default) or cuda")
    arguments.add_argument("--images", type=int, default=16, metavar="N", help="images (default: %(default)s)")
    arguments.add_argument("--folder", type=Path, help="keep the images here for another run")
    options = arguments.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        root = sized((options.folder or Path(temporary)).resolve(), SIZE)
        params = write_project(root, options.images, SIZE)
        write_degraded(root)
        result = rows(root, params, options.device, options.runs)
    print(table(result))
    write_json(options.json, TITLE, result)


if __name__ == "__main__":
    main()
