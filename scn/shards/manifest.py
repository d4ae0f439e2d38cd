"""What a shard set is: the schema that data preparation writes and training and evaluation read.

What lies in a shard is in scn.shards.samples.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import digest

FORMAT: Literal[3] = 3


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Record):
    """One tar in the store."""

    key: str
    """Its place in the store; holds the SHA-256 of its content."""
    bytes: int
    sha256: str
    samples: int
    images: dict[int, tuple[int, int]]
    """The images that are in it, whole or in part: number in the set -> height and width of the whole target."""


class ImageSet(_Record):
    """The shards made from one or more corpora."""

    corpora: dict[str, str]
    """Corpus reference -> SHA-256 over the names and contents of its images."""
    images: int
    samples: int
    """Images, or the sub-images that they were cut into."""
    content: str
    """SHA-256 over the pixels of all images and their degraded versions, however they were cut, encoded and spread."""
    converted: dict[str, int]
    """How many images went through which conversion."""
    refused: dict[str, str]
    """The images that could not be used, by corpus and name -> why (data.unusable: skip)."""
    shards: list[Shard]


class Manifest(_Record):
    """Everything that training and evaluation of one experiment read."""

    format: Literal[3] = FORMAT
    experiment: str
    task: str
    level: int
    parameters: dict[str, Any]
    """How the shards were made."""
    made_with: dict[str, str]
    """The implementation of PIL, the encoder, and the SHA-256 of the code that degraded, cut and encoded."""
    train: ImageSet
    evaluation: dict[str, ImageSet]
    """Evaluation set (its corpus reference) -> its shards."""

    @property
    def sha256(self) -> str:
        """Names the data: the same for the same pixels, however they were cut, encoded and spread over shards."""
        pixels = {"corpora", "images", "content"}
        return digest(
            self.model_dump(
                include={
                    **dict.fromkeys(("format", "experiment", "task", "level"), True),
                    "train": pixels,
                    "evaluation": dict.fromkeys(self.evaluation, pixels),
                }
            )
        )

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
        experiment = Path(path).parent.name
        command = f"dvc repro shard@{experiment}" if experiment else "data-prep shard"
        raise UserError(f"{path} does not exist: make it with `{command}`.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name a manifest that can.") from None
    except (ValidationError, UnicodeDecodeError) as error:
        detail = str(error).splitlines()[0]
        raise UserError(
            f"{path} is no shard manifest of this version ({detail}): make it again with `data-prep shard`."
        ) from None
