"""Evaluation on a cluster: the memory of the process that starts it, and images per second beside plain Ray tasks.

    python -m benchmarks.evaluation_cluster [--json FILE] [--images N]

The cluster is one of this machine's CPUs. Images are 64x64 and made by whoever reads them; the network has one block
of four units. `plain tasks` is what the project did before (docs/decisions/0018): the starting process reads the images
and sends each to a task, which sends all pictures back. Starting Ray does not count, starting actors does.
"""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.evaluation import NAME, project
from benchmarks.measure import Row, parser, table, write_json
from benchmarks.memory import peak_mib
from scn.config.params import Experiment
from scn.core.ray import start_ray, stop_ray
from scn.evaluation.images import restorer
from scn.evaluation.measuring import Measured, Method, measure_sample
from scn.evaluation.sets import measure_samples
from scn.imaging.degradation import bicubic_downscale, bicubic_upscale
from scn.shards.samples import About, Sample

TITLE = "Evaluation on a cluster"
SIDE = 64
FEW = 10
"""Number of images beside which the memory for many is shown."""


@dataclass(frozen=True)
class Made:
    """So many images of noise."""

    count: int

    def __len__(self) -> int:
        """Returns the number of images."""
        return self.count

    def read(self, numbers: Sequence[int]) -> Iterator[Sample]:
        """Yields images by their numbers."""
        for number in numbers:
            hr = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            lr = bicubic_downscale(hr, 2)
            about = About(name=str(number), index=number, height=SIDE, width=SIDE)
            yield Sample(about=about, hr=hr, lr=lr, up=bicubic_upscale(lr, 2))


def ray_data(experiment: Experiment, methods: dict[str, Method | None], count: int) -> Iterator[Measured]:
    """Measures as the project does."""
    return measure_samples(Made(count), experiment, methods)


def tasks(experiment: Experiment, methods: dict[str, Method | None], count: int) -> Iterator[Measured]:
    """Measures as the project did: a task for each image, two per CPU in flight."""
    import ray

    start_ray()
    score = ray.put(partial(measure_sample, experiment, methods, {}))
    task: Any = ray.remote(lambda score, sample: score(sample))
    pending: deque[Any] = deque()
    for sample in Made(count).read(range(count)):
        pending.append(task.remote(score, sample))
        if len(pending) >= 2 * int(ray.cluster_resources()["CPU"]):
            yield ray.get(pending.popleft())
    yield from map(ray.get, pending)


WAYS: dict[str, Callable[[Experiment, dict[str, Method | None], int], Iterator[Measured]]] = {
    "ray data": ray_data,
    "plain tasks": tasks,
}


def measure(way: str, count: int) -> tuple[float, float]:
    """Returns the memory in MiB that this process needs for so many images, and the images per second."""
    with tempfile.TemporaryDirectory() as folder:
        params, model = project(Path(folder), blocks=1, units=4, width=2, scales=2)
    experiment = params.experiment(NAME)
    methods: dict[str, Method | None] = {"input": None, "model": restorer(experiment, model.network)}
    seconds = []

    def call() -> None:
        start = perf_counter()
        assert sum(1 for _ in WAYS[way](experiment, methods, count)) == count
        seconds.append(perf_counter() - start)

    peak = peak_mib(call, torch.device("cpu"))
    return peak, count / seconds[-1]


def rows_of(way: str, count: int) -> Iterator[Row]:
    """Yields the rows of a way, for FEW images and for `count`."""
    for images in (FEW, count):
        peak, rate = measure(way, images)
        yield {"way": way, "images": images, "memory_mib": peak, "images_per_s": rate}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(TITLE, runs=1)
    arguments.add_argument("--images", type=int, default=1000, metavar="N", help="number of images (default: 1000)")
    options = arguments.parse_args(argv)
    os.environ["RAY_ADDRESS"] = "local"
    rows = [row for way in WAYS for row in rows_of(way, options.images)]
    stop_ray()
    print(table(rows))
    write_json(options.json, TITLE, rows)


if __name__ == "__main__":
    main()
