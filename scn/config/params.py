"""The schema of params.yaml: everything that a run depends on, checked before anything starts."""

import os
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from scn.config.data import (
    CollectConfig,
    CorporaConfig,
    DataConfig,
    EvaluateConfig,
    RegistryConfig,
    StorageConfig,
)
from scn.config.document import load_yaml
from scn.config.overrides import SOURCE, parse
from scn.config.run import RunConfig
from scn.config.train import TrainConfig
from scn.core.errors import UserError
from scn.core.schema import Section, check, unknown
from scn.imaging.tasks import TASKS, Task
from scn.networks import DEFAULT, NetworkConfig, network_config
from scn.storage import open_store
from scn.storage.base import Store
from scn.storage.patience import reached
from scn.storage.writers import check_writers

PARAMS_FILE = Path("params.yaml")
"""The configuration file, relative to the project's folder."""
_SETTABLE = ("data", "model", "train", "run")
_RENAMED = {"train": {"start_from": "start_from", **{key: f"run.{key}" for key in RunConfig.model_fields}}}
"""Section -> key that stands elsewhere -> its dotted key."""


Level = Annotated[int, Field(ge=1)]


class _ExperimentSection(Section):
    task: str
    level: Level
    data: dict[str, Any] = Field(default={})
    model: dict[str, Any] = Field(default={})
    train: dict[str, Any] = Field(default={})
    run: dict[str, Any] = Field(default={})

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
    registry: RegistryConfig = RegistryConfig()
    collect: CollectConfig = CollectConfig()
    corpora: CorporaConfig
    data: DataConfig
    model: dict[str, Any] = Field(default={})
    """Parameters of a network (scn.networks)."""
    train: dict[str, Any] = Field(default={})
    run: dict[str, Any] = Field(default={})
    evaluate: EvaluateConfig = EvaluateConfig()
    start_from: dict[str, str] = Field(default={})
    """Experiment -> the folder of the model whose weights it starts from, where names and shapes are the same."""
    experiments: dict[str, _ExperimentSection] = Field(min_length=1)

    @field_validator("experiments")
    @classmethod
    def _named(cls, experiments: dict[str, _ExperimentSection]) -> dict[str, _ExperimentSection]:
        for name in experiments:  # of folders and objects; NAME@VERSION is a reference to a version
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ValueError(
                    f"'{name}' is no name of an experiment: use letters, digits, '_', '.' and '-', and begin with one "
                    "of the first two"
                )
        return experiments

    @field_validator("start_from")
    @classmethod
    def _somewhere(cls, start_from: dict[str, str]) -> dict[str, str]:
        for name, folder in start_from.items():
            if not folder.strip():
                raise ValueError(f"{name}: no folder is named: write one such as models/sr-x2, or take the entry out")
        return start_from


def _known_network(model: NetworkConfig | Mapping[str, Any]) -> NetworkConfig:
    return model if isinstance(model, NetworkConfig) else network_config(model, "model")


_RECIPES: dict[str, type[TrainConfig] | type[RunConfig]] = {"train": TrainConfig, "run": RunConfig}


class Experiment(Section):
    """One experiment of params.yaml, with everything that it inherits from the common sections."""

    name: str
    task_name: str
    level: int
    data: DataConfig
    model: Annotated[SerializeAsAny[NetworkConfig], BeforeValidator(_known_network)]
    train: TrainConfig
    run: RunConfig
    evaluate: EvaluateConfig
    start_from: str | None = None
    """The folder of the model whose weights training starts from, relative to params.yaml."""

    @model_validator(mode="after")
    def _workable(self) -> "Experiment":
        self.check_split(self.run.workers)
        if (fewest := self.run.min_workers) and fewest > self.run.workers:
            raise UserError(f"run.min_workers of {self.name}: {fewest} is more than run.workers, {self.run.workers}.")
        try:
            self.model.check_new()
            self.model.check_channels(self.task.image_channels)
        except ValueError as error:
            raise UserError(f"model of {self.name}: {error}.") from None
        return self

    def worker_counts(self) -> list[int]:
        """Returns the numbers of workers that the run may have, from run.workers down to run.min_workers."""
        workers = self.run.workers
        return [count for count in range(workers, (self.run.min_workers or workers) - 1, -1) if self._splits(count)]

    def _splits(self, workers: int) -> bool:
        try:
            self.check_split(workers)
        except UserError:
            return False
        return True

    def check_split(self, workers: int) -> None:
        """Raises UserError if a batch can't be split evenly among `workers` and the parts that each computes it in."""
        accumulate, lanes, batch = self.run.accumulate, self.train.lanes, self.train.batch_size
        if lanes % workers:
            raise UserError(
                f"train.lanes of {self.name}: {lanes} lanes can't be dealt evenly to {workers} workers: set "
                "run.workers to a power of two up to train.lanes."
            )
        sharers = f"{lanes} lanes (train.lanes)" if lanes else f"{workers} workers"
        parts = f"{accumulate} parts of each of " if accumulate > 1 else ""
        if batch % ((lanes or workers) * accumulate):
            raise UserError(
                f"train.batch_size of {self.name}: {batch} can't be split evenly among {parts}{sharers}: set it to a "
                "multiple, or change run.workers and run.accumulate."
            )
        if (lanes or workers) * accumulate > 1 and not self.model.splits_batches:
            raise UserError(
                f"The result of {self.model.name} with batch normalisation depends on how a batch is split: set "
                f"run.workers and run.accumulate of {self.name} to 1 and train.lanes to 0, or model.batch_norm to "
                "false."
            )

    @property
    def task(self) -> Task:
        """The experiment's task."""
        return TASKS[self.task_name]

    @property
    def scale(self) -> int:
        """Upscaling factor of the network; 1 except in super-resolution."""
        return self.task.scale(self.level)

    def architecture(self) -> dict[str, Any]:
        """The network's parameters, `channels` and `scale`, as scn.networks.build.build takes them."""
        return {**self.model.model_dump(), "channels": self.task.image_channels, "scale": self.scale}


class Params(Section):
    """The content of params.yaml, checked, with every experiment resolved."""

    path: Path
    storage: StorageConfig
    run: RunConfig = RunConfig()
    """The common section `run`, for what belongs to no experiment."""
    registry: RegistryConfig = RegistryConfig()
    collect: CollectConfig = CollectConfig()
    corpora: CorporaConfig
    experiments: dict[str, Experiment]

    @property
    def root(self) -> Path:
        """The folder of params.yaml, from which relative paths in it start."""
        return self.path.parent

    def open_store(self, experiment: str = "", url: str | None = None, *, publishing: bool = False) -> Store:
        """The project's store, reached once; what fails later is tried again for `run.store_timeout_s` seconds.

        Args:
            experiment: the one whose `run` says how long; of any other name: the common section.
            url: replaces storage.url.
            publishing: versions are to be written, so several writers at once must be safe there.
        Raises:
            StoreError: within about ten seconds, if the store can't be reached; or if it is not safe.
        """
        run = self.experiments[experiment].run if experiment in self.experiments else self.run
        store = reached(open_store(url or self.storage.url, self.root), run.store_timeout_s)
        if publishing:
            check_writers(store, single=self.storage.single_writer)
        return store

    def experiment(self, name: str) -> Experiment:
        """The experiment `name`. Raises UserError with the nearest name if there is none."""
        if name not in self.experiments:
            raise UserError(f"{self.path}: {unknown(name, list(self.experiments), 'experiment')}.")
        return self.experiments[name]


def load_params(path: Path | str = PARAMS_FILE, settings: Iterable[str] = (), experiment: str = "") -> Params:
    """Reads and checks params.yaml.

    Args:
        path: the file.
        settings: SECTION.KEY=VALUE (of `data`, `model`, `train` or `run`) or start_from=FOLDER, which replace what the
            file says for `experiment`.
        experiment: the experiment that `settings` change.
    Raises:
        UserError: for the first mistake in the file or in the settings.
    """
    path = Path(path)
    try:
        raw = load_yaml(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run this in the project's folder or name it with --params.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read: {error}.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise UserError(f"{path} is not valid YAML{line}: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} has no sections: restore it from git.")
    document = check(_Document, raw, path)
    if settings:
        load_params(path)  # so that a mistake in the file is not told as one in the settings
        document = check(_Document, _changed(raw, settings, experiment, path), SOURCE)
    for key, cls in _RECIPES.items():
        check(cls, getattr(document, key), path, key, _RENAMED.get(key))
    for name in document.start_from:
        if name not in document.experiments:
            raise UserError(f"{path}: start_from: {unknown(name, document.experiments, 'experiment')}.")
    if not settings:  # of one call, these order nothing: it may start from what was trained before
        _check_starts(document.start_from, path)
    network_config(document.model, path, "model")
    experiments = {}
    for name, section in document.experiments.items():
        source, place = (SOURCE, "") if settings and name == experiment else (path, f"experiments.{name}.")
        merged: dict[str, Any] = {}
        sections: dict[str, type[Section]] = {"data": DataConfig, **_RECIPES}
        for key, section_type in sections.items():
            common = getattr(document, key)
            common = common.model_dump(exclude_unset=True) if isinstance(common, Section) else common
            together = {**common, **getattr(section, key)}
            merged[key] = check(section_type, together, source, f"{place}{key}", _RENAMED.get(key)).model_dump()
        _resolve_batch(merged, "batch_size" in {**document.train, **section.train}, source, name)
        _resolve_sets(merged)
        model = _model(document.model, section.model)
        for reference in (*merged["data"]["train"], *merged["data"]["evaluation"]):
            corpus = reference.partition("/")[0]
            if corpus not in document.corpora.names:
                raise UserError(
                    f"{source}: data of {name}: {unknown(corpus, document.corpora.names, 'corpus')}; one of the "
                    "catalogue needs an entry in corpora.download, one of your own in corpora.local."
                )
        network = network_config(model, source, f"{place}model")
        try:
            experiments[name] = Experiment.model_validate(
                {
                    **{"name": name, "task_name": section.task, "level": section.level, "evaluate": document.evaluate},
                    **{**merged, "model": network},
                    "start_from": document.start_from.get(name),
                }
            )
        except UserError as error:  # raised by a check of several sections
            raise UserError(f"{source}: {error}") from None
    return Params(
        path=path,
        storage=document.storage,
        run=check(RunConfig, document.run, path, "run"),
        registry=document.registry,
        collect=document.collect,
        corpora=document.corpora,
        experiments=experiments,
    )


def base_of(start_from: str | None) -> str:
    """The experiment whose model a folder of start_from is; "" if it is none of this project's."""
    folder, name = os.path.split(os.path.normpath(start_from or ""))
    return name if folder == "models" else ""


def _check_starts(start_from: Mapping[str, str], path: Path) -> None:
    """Raises UserError if experiments start from each other in a cycle, so that none could be trained first."""
    for first in start_from:
        chain = [first]
        while (base := base_of(start_from.get(chain[-1]))) and base not in chain:
            chain.append(base)
        if base == first:
            words = ", ".join(f"{name} from {after}" for name, after in pairwise([*chain, first]))
            raise UserError(
                f"{path}: start_from: {words}, so none of them can be trained first: take one entry out, or let it "
                "name another folder with a model."
            )


def _changed(raw: dict[str, Any], settings: Iterable[str], name: str, path: Path) -> dict[str, Any]:
    """The document with settings put into the section of the experiment `name`."""
    if name not in raw["experiments"]:
        raise UserError(f"{path}: {unknown(name, raw['experiments'], 'experiment')}.")
    own: dict[str, Any] = {key: dict(raw["experiments"][name].get(key) or {}) for key in _SETTABLE}
    for setting, value in parse(settings):
        if setting == "start_from":
            raw = {**raw, "start_from": {**(raw.get("start_from") or {}), name: value}}
            continue
        section, _, key = setting.partition(".")
        if section not in own or not key:
            raise UserError(
                f"{SOURCE}: '{setting}' is no SECTION.KEY: begin with {', '.join(_SETTABLE)}, or set start_from."
            )
        if "." in key:
            key, _, inner = key.partition(".")
            raise UserError(f"{SOURCE}: '{setting}' is one key too deep: write '{section}.{key}={{{inner}: ...}}'.")
        own[section][key] = value
    return {**raw, "experiments": {**raw["experiments"], name: {**raw["experiments"][name], **own}}}


def _resolve_batch(sections: dict[str, Any], stated: bool, source: object, name: str) -> None:
    """Sets train.batch_size where run.batch_per_worker says it; `stated`: whether train.batch_size is written, too."""
    train, run = sections["train"], sections["run"]
    if (each := run["batch_per_worker"]) is None:
        return
    batch = each * run["workers"]
    if stated and train["batch_size"] != batch:
        raise UserError(
            f"{source}: train.batch_size of {name} is {train['batch_size']}, and {run['workers']} run.workers with "
            f"run.batch_per_worker {each} make {batch}: leave one of the two out."
        )
    train["batch_size"] = batch


def _resolve_sets(sections: dict[str, Any]) -> None:
    """Names the first evaluation set where validations are to measure "the first": manifests keep no order of sets."""
    first = sections["data"]["evaluation"][:1]
    if sections["train"]["take_best_every"] is not None:
        sections["train"]["take_best_on"] = sections["train"]["take_best_on"] or first
    sections["run"]["validate_on"] = sections["run"]["validate_on"] or first


def _model(common: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model of an experiment: the common parameters with its own, unless it asks for another network."""
    same = own.get("name", common.get("name", DEFAULT)) == common.get("name", DEFAULT)
    return {**common, **own} if same else own
