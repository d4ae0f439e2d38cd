"""What a shard set is: the schema that data preparation writes and training and evaluation read.

A shard is a WebDataset tar. Each sample is one image and has the members
    <key>.hr.npy      uint8 (H, W, 3) or (H, W): the target
    <key>.lr.npy      uint8: the degraded image, where the task stores one (tasks.Task.stored)
    <key>.json        {"name": the image's name, "sha256": of the file it came from}
Evaluation sets of super-resolution have besides
    <key>.up.npy      uint8, of the size of hr: the degraded image enlarged by bicubic interpolation
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from scn.config import Params, digest
from scn.errors import UserError


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Record):
    """One tar in the store."""

    key: str
    """Its place in the store; holds the SHA-256 of its content."""
    bytes: int
    sha256: str
    samples: int


class ImageSet(_Record):
    """The shards made from one or more corpora, in order."""

    corpora: dict[str, str]
    """Corpus reference -> SHA-256 over the names and contents of its images."""
    images: int
    converted: dict[str, int]
    """How many images were converted, by kind of conversion."""
    shards: list[Shard]


class Manifest(_Record):
    """Everything that training and evaluation of one experiment read."""

    format: int = 1
    experiment: str
    task: str
    level: int
    train: ImageSet
    evaluation: dict[str, ImageSet]
    """Evaluation set (its corpus reference) -> its shards."""

    @property
    def sha256(self) -> str:
        """Names the data: the same for the same images and parameters on any machine."""
        return digest(self.model_dump())

    def shards(self) -> Iterator[Shard]:
        for images in (self.train, *self.evaluation.values()):
            yield from images.shards

    def dumps(self) -> str:
        return json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n"


def experiment_manifest(params: Params, name: str) -> Manifest:
    """shards/<name>/manifest.json; UserError if it is missing or holds the shards of another experiment."""
    experiment = params.experiment(name)
    path = params.root / "shards" / name / "manifest.json"
    manifest = load_manifest(path)
    if (manifest.experiment, manifest.task, manifest.level) != (name, experiment.task_name, experiment.level):
        raise UserError(
            f"{path} holds the shards of {manifest.experiment} ({manifest.task}, level {manifest.level}), not of "
            f"{name} ({experiment.task_name}, level {experiment.level}): run `dvc repro shard@{name}`."
        )
    return manifest


def load_manifest(path: Path | str) -> Manifest:
    """Reads manifest.json; UserError if it is missing or not a manifest."""
    try:
        return Manifest.model_validate_json(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: make it with `dvc repro shard@{Path(path).parent.name}`.") from None
    except (ValidationError, UnicodeDecodeError) as error:
        detail = str(error).splitlines()[0]
        raise UserError(f"{path} is no shard manifest ({detail}): make it again with `data-prep shard`.") from None
