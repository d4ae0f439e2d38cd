"""The schema of params.yaml: everything that a run depends on, checked before anything starts."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from scn.config.overrides import SOURCE, parse
from scn.config.train import TrainConfig
from scn.core.errors import UserError
from scn.core.schema import Section, check, unknown
from scn.imaging.tasks import TASKS, Task
from scn.networks import DEFAULT, NetworkConfig, network_config

PARAMS_FILE = Path("params.yaml")
_SETTABLE = ("data", "model", "train")


class StorageConfig(Section):
    url: str = "file://.scn/store"
    """Where shards, checkpoints and versions lie: `file://folder` or `s3://bucket/prefix`."""


class CorporaConfig(Section):
    """Where images come from; see docs/corpora.md."""

    root: str = "corpora"
    """A folder with copies of corpora, NAME or NAME/SPLIT in it; downloads go there. $SCN_CORPORA goes before it."""
    download: dict[str, str] = Field(default={})
    """Name -> `catalogue`, or the URL of an archive of images, whose checksum may follow as `#sha256=...`."""
    local: dict[str, str] = Field(default={})
    """Name -> a folder of images, or an archive of them."""

    @model_validator(mode="after")
    def _names(self) -> "CorporaConfig":
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"'{name}' is no name: use letters, digits, '_' and '-'")
        for name, place in self.local.items():
            if place.startswith("~"):  # DVC, which watches it, would look for a folder of this name
                raise ValueError(f"local.{name}: '{place}' is no path for DVC: write it without '~'")
        if twice := sorted(self.download.keys() & self.local.keys()):
            raise ValueError(f"'{twice[0]}' is named under download and under local: rename one")
        return self

    @property
    def names(self) -> list[str]:
        return [*self.download, *self.local]


class DataConfig(Section):
    train: list[str] = Field(min_length=1)
    """Corpora to train on: `NAME`, or `NAME/SPLIT` for one split (of a folder: a sub-folder)."""
    evaluation: list[str] = Field(min_length=1)
    """Corpora to measure on; no image may be in `train` too."""
    sub_image: int = Field(default=480, ge=0)
    """Side in pixels of the sub-images that training images are cut into; 0: whole images."""
    stride: int = Field(default=240, ge=1)
    """Pixels from one sub-image to the next."""
    levels: list[int] = Field(default=[])
    """Levels of the task whose degraded images lie in the same shards, so that experiments share the originals;
    empty: the experiment's own alone."""
    encoding: Literal["npy", "png"] = "npy"
    """Of the images in the shards; see docs/decisions/0005."""
    png_level: int = Field(default=1, ge=0, le=9)
    """zlib's compression level for png."""
    shard_mib: int = Field(default=128, ge=1)
    """The size that shards come close to, in MiB of uncompressed pixels, where there are images enough."""
    unusable: Literal["stop", "skip"] = "stop"
    """What to do about a training image that can't be used: stop, or leave it out and name it in the manifest."""

    @field_validator("evaluation")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError("names an evaluation set twice")
        return names

    @model_validator(mode="after")
    def _covers(self) -> "DataConfig":
        if 0 < self.sub_image < self.stride:
            raise ValueError(f"stride: {self.stride} leaves gaps between sub-images of {self.sub_image} pixels")
        return self


class EvaluateConfig(Section):
    precision: Literal["float32", "bfloat16"] = "float32"


Level = Annotated[int, Field(ge=1)]


class _ExperimentSection(Section):
    task: str
    level: Level
    data: dict[str, Any] = Field(default={})
    model: dict[str, Any] = Field(default={})
    train: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _known(self) -> "_ExperimentSection":
        if self.task not in TASKS:
            raise ValueError(f"task: {unknown(self.task, list(TASKS), 'task')}")
        task = TASKS[self.task]
        low, high = task.level_range
        if not low <= self.level <= high:
            raise ValueError(f"level: the {task.level_name} of {task.title} lies in {low}..{high}, not {self.level}")
        return self


class _Document(Section):
    storage: StorageConfig = StorageConfig()
    corpora: CorporaConfig
    data: DataConfig
    model: dict[str, Any] = Field(default={})
    """Parameters of a network (scn.networks)."""
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    experiments: dict[str, _ExperimentSection] = Field(min_length=1)


def _known_network(model: NetworkConfig | Mapping[str, Any]) -> NetworkConfig:
    return model if isinstance(model, NetworkConfig) else network_config(model, "model")


class Experiment(Section):
    """One experiment with everything it inherits, ready to run."""

    name: str
    task_name: str
    level: int
    data: DataConfig
    model: Annotated[SerializeAsAny[NetworkConfig], BeforeValidator(_known_network)]
    train: TrainConfig
    evaluate: EvaluateConfig

    @property
    def task(self) -> Task:
        return TASKS[self.task_name]

    @property
    def scale(self) -> int:
        return self.task.scale(self.level)

    def architecture(self) -> dict[str, Any]:
        """What builds the network: the model's parameters, the task's channels and the scale."""
        return {**self.model.model_dump(), "channels": self.task.image_channels, "scale": self.scale}


class Params(Section):
    """params.yaml, checked, with every experiment resolved."""

    path: Path
    storage: StorageConfig
    corpora: CorporaConfig
    experiments: dict[str, Experiment]

    @property
    def root(self) -> Path:
        """The folder that relative paths in params.yaml start from."""
        return self.path.parent

    def experiment(self, name: str) -> Experiment:
        """The experiment `name`; UserError naming the nearest one if there is none."""
        if name not in self.experiments:
            raise UserError(f"{self.path}: {unknown(name, list(self.experiments), 'experiment')}.")
        return self.experiments[name]


def load_params(path: Path | str = PARAMS_FILE, settings: Iterable[str] = (), experiment: str = "") -> Params:
    """Reads and checks params.yaml; UserError with one sentence if anything in it is wrong.

    Args:
        settings: SECTION.KEY=VALUE, of `data`, `model` or `train`, in place of what the file says for `experiment`.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run this in the project's folder or name it with --params.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read: {error}.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise UserError(f"{path} is not valid YAML{line}: {getattr(error, 'problem', error)}.") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} has no sections: restore it with `scn preset demo`.")
    document = check(_Document, raw, path)
    if settings:
        load_params(path)  # a mistake in the file is told as one
        document = check(_Document, _changed(raw, settings, experiment, path), SOURCE)
    network_config(document.model, path, "model")
    experiments = {}
    for name, section in document.experiments.items():
        source, place = (SOURCE, "") if settings and name == experiment else (path, f"experiments.{name}.")
        merged = {
            key: {**getattr(document, key).model_dump(exclude_unset=True), **getattr(section, key)}
            for key in ("data", "train")
        }
        for key, cls in (("data", DataConfig), ("train", TrainConfig)):
            merged[key] = check(cls, merged[key], source, f"{place}{key}").model_dump()
        model = _model(document.model, section.model)
        for reference in (*merged["data"]["train"], *merged["data"]["evaluation"]):
            corpus = reference.partition("/")[0]
            if corpus not in document.corpora.names:
                raise UserError(f"{source}: data of {name}: {unknown(corpus, document.corpora.names, 'corpus')}.")
        experiments[name] = Experiment.model_validate(
            {
                **{"name": name, "task_name": section.task, "level": section.level, "evaluate": document.evaluate},
                **{**merged, "model": network_config(model, source, f"{place}model")},
            }
        )
    return Params(path=path, storage=document.storage, corpora=document.corpora, experiments=experiments)


def _changed(raw: dict[str, Any], settings: Iterable[str], name: str, path: Path) -> dict[str, Any]:
    """The document with settings put into the section of the experiment `name`."""
    if name not in raw["experiments"]:
        raise UserError(f"{path}: {unknown(name, raw['experiments'], 'experiment')}.")
    own: dict[str, Any] = {key: dict(raw["experiments"][name].get(key) or {}) for key in _SETTABLE}
    for setting, value in parse(settings):
        section, _, key = setting.partition(".")
        if section not in own or not key:
            raise UserError(f"{SOURCE}: '{setting}' is no SECTION.KEY: begin with {', '.join(_SETTABLE)}.")
        if "." in key:
            key, _, inner = key.partition(".")
            raise UserError(f"{SOURCE}: '{setting}' is one key too deep: write '{section}.{key}={{{inner}: ...}}'.")
        own[section][key] = value
    return {**raw, "experiments": {**raw["experiments"], name: {**raw["experiments"][name], **own}}}


def _model(common: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model of an experiment: the common parameters with its own, unless it asks for another network."""
    same = own.get("name", common.get("name", DEFAULT)) == common.get("name", DEFAULT)
    return {**common, **own} if same else own
