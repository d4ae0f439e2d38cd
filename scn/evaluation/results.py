"""The results of the stages `evaluate` and `ensemble`, image by image, as files; imports no PyTorch.

    evaluations/<E>/model.json                      stage evaluate: the degraded input and the model
    evaluations/<E>/ensemble.json                   stage ensemble: the same, and the model with self-ensemble
    evaluations/<E>/pictures/<set>/<image>/*.png    stage evaluate: truth, input and model of some images
    evaluations/<E>/ensemble/<set>/<image>/*.png    stage ensemble: ensemble, of the same images

The pictures are those of the images where the model gains most and least over the degraded input.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from scn.core.errors import UserError
from scn.inference.records import Figures, Metrics, Provenance, Record, SetFigures

Method = Literal["input", "model", "ensemble"]
"""A way to restore an image: `input` is the degraded image as a viewer sees it, `ensemble` the self-ensemble."""

Picture = Literal["truth", "input", "model", "ensemble"]
"""A picture that is kept of an image: the original, or the result of a method."""


class ImageResult(Record):
    """The figures of one image of an evaluation set."""

    name: str
    """The image's name in its corpus."""
    height: int
    """Height of the original in pixels."""
    width: int
    """Width of the original in pixels."""
    figures: Mapping[str, Mapping[str, Figures]]
    """Protocol -> method -> figures; the task's first protocol comes first."""


class SetResult(Record):
    """The figures of one evaluation set."""

    mean: Mapping[str, Mapping[str, Figures]]
    """Protocol -> method -> means over the images; the task's first protocol comes first."""
    images: list[ImageResult]
    """The images, in the order of the shards."""
    most: list[str] = Field(default=[])
    """Names of the images with pictures where the model gains most, the largest gain first."""
    least: list[str] = Field(default=[])
    """Names of the images with pictures where it gains least, the smallest gain first."""


class Evaluation(Record):
    """The content of model.json and ensemble.json in evaluations/<E>/."""

    experiment: str
    task: str
    level: int
    sets: Mapping[str, SetResult]
    """Evaluation set -> its figures."""
    provenance: Provenance


def result_file(root: Path, experiment: str, stage: Literal["model", "ensemble"]) -> Path:
    """Returns the path of the file that a stage writes for an experiment; `root` is the folder of params.yaml."""
    return root / "evaluations" / experiment / f"{stage}.json"


def picture_file(root: Path, experiment: str, set_name: str, image: str, picture: Picture) -> Path:
    """Returns the path of a picture, an 8-bit PNG, grey or RGB, of an image of an evaluation set."""
    folder = "ensemble" if picture == "ensemble" else "pictures"
    return root / "evaluations" / experiment / folder / set_name / image / f"{picture}.png"


def gain(image: ImageResult, protocol: str) -> float:
    """Returns the gain in PSNR, in dB, of the model over the degraded input for an image."""
    figures = image.figures[protocol]
    return figures["model"].psnr - figures["input"].psnr


def figures_of(evaluation: Evaluation) -> Metrics:
    """Returns the means of an evaluation with self-ensemble, with their provenance, as a version carries them.

    Raises:
        UserError: if self-ensemble is not among the methods.
    """
    sets = {}
    for name, result in evaluation.sets.items():
        first, *others = result.mean
        if "ensemble" not in result.mean[first]:
            name = evaluation.experiment
            raise UserError(f"The figures of {name} lack self-ensemble: run `dvc repro ensemble@{name}`.")
        further = {rule: result.mean[rule] for rule in others}
        sets[name] = SetFigures(**result.mean[first], further=further or None)
    return Metrics(sets=sets, provenance=evaluation.provenance)
