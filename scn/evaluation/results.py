"""The results of the stage `evaluate`, image by image; imports no PyTorch."""

from collections.abc import Mapping

from scn.inference.records import Figures, Provenance, Record


class ImageFigures(Record):
    """The figures of one image of an evaluation set."""

    name: str
    """The image's corpus and name."""
    input: Figures
    """The degraded image, as a viewer sees it."""
    model: Figures


class SetEvaluation(Record):
    """The figures of one evaluation set: means over its images, and those of each image."""

    input: Figures
    """The degraded images, as a viewer sees them."""
    model: Figures
    images: list[ImageFigures]
    """In the order of the shards."""


class Evaluation(Record):
    """The content of evaluations/<E>.json."""

    experiment: str
    sets: Mapping[str, SetEvaluation]
    """Evaluation set -> its figures."""
    provenance: Provenance
