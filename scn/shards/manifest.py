"""Manifests of shards, which data preparation writes and training and evaluation read.

scn.shards.samples describes the content of a shard.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import digest

FORMAT: Literal[4] = 4
"""Version of the manifests' format."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shard(_Record):
    """A shard: one tar file of samples in the store."""

    key: str
    """Key in the store, with the first half of the SHA-256 of the content in it."""
    bytes: int
    """Size of the tar file in bytes."""
    sha256: str
    """SHA-256 of the tar file, in hexadecimal."""
    samples: int
    """Number of samples."""
    images: dict[int, tuple[int, int]]
    """The images in the shard, whole or in part: number in the set -> (height, width) of the whole target in pixels."""


class ImageSet(_Record):
    """The shards made from one or more corpora."""

    corpora: dict[str, str]
    """Corpus reference -> SHA-256 over the names and contents of its images."""
    images: int
    """Number of images."""
    samples: int
    """Number of samples: images, or the sub-images that they were cut into."""
    content: str
    """SHA-256 over the pixels of all images and their degraded versions, however they were cut, encoded and spread."""
    converted: dict[str, int]
    """Conversion (scn.corpora.images) -> number of images that went through it."""
    refused: dict[str, str]
    """Images that could not be used: CORPUS/NAME -> why (with `data.unusable: skip`)."""
    shards: list[Shard]


_PIXELS = {"corpora", "images", "content"}


class _Manifest(_Record):
    """What the manifests of an experiment have in common."""

    format: Literal[4] = FORMAT
    experiment: str
    task: str
    level: int
    parameters: dict[str, Any]
    """Values of the section `data` that the shards were made with; `train` only if --images took its place."""
    made_with: dict[str, str]
    """Versions: `pil`, the implementation of PIL, and `codec`, the encoder."""

    @property
    def stage(self) -> str | None:
        """The experiment whose DVC stage makes these shards; None: those of --images, for which it would put others."""
        return None if "train" in self.parameters else self.experiment

    def dumps(self) -> str:
        """The manifest as the JSON text of its file."""
        return json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n"

    def _digest(self, sets: Mapping[str, ImageSet]) -> str:
        about = self.model_dump(include={"experiment", "task", "level"})
        return digest(about | {name: made.model_dump(include=_PIXELS) for name, made in sets.items()})


class TrainingManifest(_Manifest, ImageSet):
    """The images that one experiment trains on, as in shards/<experiment>/train.json."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the data: the same for the same pixels, however they were cut, encoded and spread over shards."""
        return self._digest({"train": self})

    @property
    def order(self) -> str:
        """SHA-256 of what groups of images are made of: the images of each shard and their sizes, shard after shard."""
        return digest([[[image, *size] for image, size in sorted(shard.images.items())] for shard in self.shards])


class EvaluationManifest(_Manifest):
    """The evaluation sets of one experiment, as in shards/<experiment>/evaluation.json."""

    sets: dict[str, ImageSet]
    """Evaluation set, by its corpus reference -> its images and shards."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the data: the same for the same pixels, however they were encoded and spread over shards."""
        return self._digest(self.sets)


Manifest = TrainingManifest | EvaluationManifest


class Manifests(NamedTuple):
    """Both manifests of an experiment."""

    train: TrainingManifest
    evaluation: EvaluationManifest

    @property
    def image_sets(self) -> list[ImageSet]:
        """The training set, and after it every evaluation set."""
        return [self.train, *self.evaluation.sets.values()]

    def shards(self) -> Iterator[Shard]:
        """Every shard of both manifests, those of the training set first."""
        for images in self.image_sets:
            yield from images.shards


def image_sets(manifest: Manifest) -> list[ImageSet]:
    """The sets of images in a manifest of either kind."""
    return list(manifest.sets.values()) if isinstance(manifest, EvaluationManifest) else [manifest]


M = TypeVar("M", TrainingManifest, EvaluationManifest)
TRAIN, EVALUATION = "train.json", "evaluation.json"


def training_manifest(params: Params, name: str) -> TrainingManifest:
    """Reads shards/<name>/train.json. Raises UserError if it is missing or belongs to another experiment."""
    return _of_experiment(TrainingManifest, params, name, TRAIN)


def evaluation_manifest(params: Params, name: str) -> EvaluationManifest:
    """Reads shards/<name>/evaluation.json. Raises UserError if it is missing or belongs to another experiment."""
    return _of_experiment(EvaluationManifest, params, name, EVALUATION)


def write_manifests(folder: Path, manifests: Manifests, *, ordered: bool = False) -> None:
    """Writes train.json and evaluation.json into a folder, and train.sha256 and evaluation.sha256 beside them.

    The .sha256 files hold what decides weights and figures, so that DVC's stages can depend on it: shards of the same
    pixels that are cut, encoded or spread in another way make no model stale. Each file is written whole or not at all.

    Args:
        ordered: whether the order of the training shards decides weights too, as it does with train.group_mib.
    """
    train, evaluation = manifests.train, manifests.evaluation
    decides = [train.sha256, train.order] if ordered else [train.sha256]
    for name, content in {
        TRAIN: train.dumps(),
        EVALUATION: evaluation.dumps(),
        "train.sha256": "\n".join([*decides, ""]),
        "evaluation.sha256": f"{evaluation.sha256}\n",
    }.items():
        write_atomically(folder / name, content.encode())


def made_by_stage(path: Path, params: Params) -> str | None:
    """The experiment whose DVC stage writes the manifest at `path`; None: it lies elsewhere, and was made by hand."""
    folder = path.parent.resolve()
    ours = path.name in (TRAIN, EVALUATION) and folder.parent == (params.root / "shards").resolve()
    return folder.name if ours and folder.name in params.experiments else None


def load_manifest(path: Path | str, params: Params | None = None) -> Manifest:
    """Reads a manifest of either kind. Raises UserError if the file is missing or is no manifest.

    Args:
        params: of the project, whose stage is named if the file is missing and the stage would make it.
    """
    text = _read(Path(path), made_by_stage(Path(path), params) if params else None)
    if '\n "sets": {' in text:
        return _parse(EvaluationManifest, text, Path(path))
    return _parse(TrainingManifest, text, Path(path))


def _of_experiment(kind: type[M], params: Params, name: str, file: str) -> M:
    experiment = params.experiment(name)
    path = params.root / "shards" / name / file
    manifest = _parse(kind, _read(path, name), path)
    if (manifest.experiment, manifest.task, manifest.level) != (name, experiment.task_name, experiment.level):
        raise UserError(
            f"{path} holds the shards of {manifest.experiment} ({manifest.task}, level {manifest.level}), not of "
            f"{name} ({experiment.task_name}, level {experiment.level}): run `dvc repro shard@{name}`."
        )
    return manifest


def _parse(kind: type[M], text: str, path: Path) -> M:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(
            f"{path} is no shard manifest of this version ({where}: {first['msg'].lower()}): make it again with "
            "`data-prep shard`."
        ) from None


def _read(path: Path, experiment: str | None) -> str:
    """The text of a manifest, which the DVC stage of `experiment` writes; None: `data-prep shard`, called by hand."""
    try:
        return path.read_text()
    except FileNotFoundError:
        by_hand = f"data-prep shard --experiment E --out {path.parent}"
        command = f"dvc repro shard@{experiment}" if experiment else by_hand
        raise UserError(f"{path} does not exist: make it with `{command}`.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no shard manifest (it holds no text): make it with `data-prep shard`.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name a manifest that can be read.") from None
