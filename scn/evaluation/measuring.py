"""Measures methods on images: every figure of a stage, a comparison or a study comes from here."""

import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.memory import room_for
from scn.evaluation.images import Restorer, degrade
from scn.evaluation.protocols import Protocol, compared, mean, measure, protocols_of, rounded
from scn.evaluation.results import ImageResult
from scn.inference.precision import Computation
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
    """`truth` and every method -> the image, 8 bits, (H, W) or (H, W, 3); empty where they were not wanted."""
    computations: frozenset[Computation] = frozenset()
    """How the networks among the methods were computed."""


class Samples(typing.Protocol):
    """The images of a set, by their numbers from 0; pickled, it is read on any node of a cluster."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def read(self, numbers: Sequence[int]) -> Iterator[Sample]:
        """Yields the images of `numbers`, which ascend; raises UserError at the first one that can't be read."""


def measure_sample(
    experiment: Experiment, methods: Mapping[str, Method | None], distances: Mapping[str, Distance], sample: Sample
) -> Measured:
    """Degrades a sample, restores it by every method and measures the results under every protocol that fits.

    Args:
        methods: name -> method; None stands for the degraded image as a viewer sees it.
        distances: further figures -> functions, for the protocols that are perceptual (scn.evaluation.perceptual).
    Returns:
        figures, rounded as they stand in files, and the pictures.
    Raises:
        UserError: if a network gives values that are not finite.
        NoRoom: if memory does not suffice for the image.
    """
    height, width = sample.hr.shape[:2]
    no_room = (
        f"{experiment.name}: memory does not suffice to restore {sample.name}, {width}x{height} pixels: end other "
        "programs, take the image out of the set, or measure it in parts (`scn evaluate --tile`)."
    )
    try:
        with room_for(no_room):
            image, seen = degrade(sample, experiment)
            pictures = {name: seen if method is None else method(image) for name, method in methods.items()}
    except FloatingPointError:
        raise UserError(
            f"{experiment.name}: the network gives values that are not finite for {sample.name}: train or import the "
            "model again."
        ) from None

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
    result = ImageResult(name=sample.name, height=height, width=width, figures=figures)
    computations = frozenset(m.computation for m in methods.values() if isinstance(m, Restorer))
    return Measured(result=result, pictures={"truth": sample.hr, **pictures}, computations=computations)


def computation_of(images: Iterable[Computation]) -> Computation | None:
    """Returns how images were computed, from how each was; None if there was no network.

    Raises:
        UserError: if they were computed in different precisions.
    """
    found = sorted(set(images))
    if len({each.precision for each in found}) > 1:
        how = " and ".join(f"{each.precision} ({each.device})" for each in found)
        raise UserError(
            f"Some images were computed in {how}, so that figures are of no one precision: set evaluate.precision to "
            "float32, or compute on processors of one kind."
        )
    if not found:
        return None
    return Computation("; ".join(dict.fromkeys(each.device for each in found)), found[0].precision)


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
