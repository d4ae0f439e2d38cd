"""Measures methods on images: every figure of a stage, a comparison or a study comes from here."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scn.config.params import Experiment
from scn.evaluation.images import degrade
from scn.evaluation.protocols import Protocol, compared, mean, measure, protocols_of, rounded
from scn.evaluation.results import ImageResult
from scn.inference.records import Figures
from scn.shards.samples import Sample

Image = NDArray[np.uint8]
Method = Callable[[NDArray[np.float32]], Image]
"""A function that restores a degraded image: scn.evaluation.images.Restorer, for example."""
Distance = Callable[[Image, Image], float]
"""A function that compares two 8-bit images."""
INPUT = "input"
"""Name of the method that does nothing: the degraded image as a viewer sees it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An image, measured."""

    result: ImageResult
    pictures: Mapping[str, Image]
    """`truth` and every method -> the image, 8 bits, (H, W) or (H, W, 3)."""


def measure_sample(
    experiment: Experiment, methods: Mapping[str, Method | None], distances: Mapping[str, Distance], sample: Sample
) -> Measured:
    """Degrades a sample, restores it by every method and measures the results under every protocol that fits.

    Args:
        methods: name -> method; None stands for the degraded image as a viewer sees it.
        distances: further figures -> functions, for the protocols that are perceptual (scn.evaluation.perceptual).
    Returns:
        figures, rounded as they stand in files, and the pictures.
    """
    image, seen = degrade(sample, experiment)
    pictures = {name: seen if method is None else method(image) for name, method in methods.items()}

    def figures_under(rule: Protocol, picture: Image) -> Figures:
        figures = measure(picture, sample.hr, rule, experiment.scale)
        if rule.perceptual and distances:
            a, b = compared(picture, sample.hr, rule, experiment.scale)
            figures = figures.model_copy(update={name: distance(a, b) for name, distance in distances.items()})
        return rounded(figures)

    figures = {
        rule.name: {name: figures_under(rule, picture) for name, picture in pictures.items()}
        for rule in protocols_of(experiment.task)
        if rule.fits(sample.hr, experiment.scale)
    }
    height, width = sample.hr.shape[:2]
    result = ImageResult(name=sample.name, height=height, width=width, figures=figures)
    return Measured(result=result, pictures={"truth": sample.hr, **pictures})


def measure_samples(
    samples: Iterable[Sample],
    experiment: Experiment,
    methods: Mapping[str, Method | None],
    distances: Mapping[str, Distance] | None = None,
) -> Iterator[Measured]:
    """Yields what measure_sample finds, in the samples' order, with few images in memory at a time.

    With RAY_ADDRESS set, each image is a task of the cluster.
    """
    score = partial(measure_sample, experiment, methods, distances or {})
    if not os.environ.get("RAY_ADDRESS"):
        yield from map(score, samples)
        return
    import ray

    from scn.core.ray import start_ray

    start_ray()
    resources = ray.cluster_resources()
    task: Any = ray.remote(num_gpus=1 if resources.get("GPU") else 0)(_call)
    shared = ray.put(score)  # the networks travel to each node once
    # Two tasks per processor keep the cluster busy; more would only hold more images in its memory.
    in_flight = 2 * max(1, int(resources.get("GPU") or resources.get("CPU", 1)))
    pending: deque[Any] = deque()
    for sample in samples:
        pending.append(task.remote(shared, sample))
        if len(pending) >= in_flight:
            yield ray.get(pending.popleft())
    yield from map(ray.get, pending)


def means(images: Iterable[ImageResult]) -> dict[str, dict[str, Figures]]:
    """Returns protocol -> method -> means over images, of the protocols under which all of them were measured."""
    rows = list(images)
    if not rows:
        return {}
    return {
        rule: {name: mean(row.figures[rule][name] for row in rows) for name in rows[0].figures[rule]}
        for rule in rows[0].figures
        if all(rule in row.figures for row in rows)
    }


def _call(score: Callable[[Sample], Measured], sample: Sample) -> Measured:
    return score(sample)
