"""The folder of a study: a params.yaml of its own with an experiment for every training, and the shards they read.

    studies/NAME/params.yaml       written at every start; `scn train --params` reads it as any other
    studies/NAME/shards/, models/, curves/, .scn/runs/    as in a project's folder

So the trainings are those of `scn train`, and the models of the project stay as they are. In the store a study reads
shards and keeps checkpoints while it runs.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scn.config.params import Experiment, Params, load_params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import digest
from scn.networks import network_config
from scn.shards.manifest import Manifests, evaluation_manifest, training_manifest, write_manifests
from scn.storage import open_store
from scn.studies.declaration import Settings, Study
from scn.studies.records import Plan

CHECKPOINTS = 10
"""Least number of checkpoints of a training, so that a kill costs a tenth of it at most."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What a study runs on: its declaration at one size, an experiment with shards, and the folder for its results."""

    path: Path
    study: Study
    size: str
    settings: Settings
    """Settings that go before the study's own."""
    base: Experiment
    """The experiment of the project whose images are used."""
    project: Params
    manifests: Manifests
    """The manifests of `base`."""

    @property
    def sets(self) -> list[str]:
        """The evaluation sets that are measured."""
        there = list(self.manifests.evaluation.sets)
        return [name for name in self.study.evaluation if name in there] or there

    @property
    def sha256(self) -> str:
        """SHA-256 of all that decides the weights but for steps and code."""
        sections = {name: self.sections(name) for name in self.study.variants}
        shares = {name: variant.share for name, variant in self.study.variants.items()}
        return digest({"sections": sections, "shares": shares, "manifest": self.manifests.train.sha256})

    def sections(self, variant: str) -> dict[str, Settings]:
        """The sections `model` and `train` of a variant, see Study.sections."""
        return self.study.sections(variant, self.size, self.settings)

    def experiment_name(self, variant: str, seed: int) -> str:
        """The name of a training in the folder's params.yaml."""
        return f"{self.study.name}-{variant}-{seed}"

    def steps_of(self, variant: str, steps: int) -> int:
        """The steps of a variant, in a study of `steps` steps."""
        return max(1, round(self.study.variants[variant].share * steps))

    def write_params(self, seeds: int, steps: int) -> Params:
        """Writes params.yaml, and the manifests of every training where they are missing; returns what it wrote.

        Raises:
            UserError: if a network or a recipe can't be had with these settings.
        """
        trainings = [(variant, seed) for variant in self.study.variants for seed in range(seeds)]
        storage = self.project.storage
        document = {
            "storage": {**storage.model_dump(), "url": open_store(storage.url, self.project.root).url},
            "corpora": self.project.corpora.model_dump(),
            "data": self.base.data.model_dump(),
            "evaluate": self.base.evaluate.model_dump(),
            "experiments": {self.experiment_name(*each): self._experiment(*each, steps) for each in trainings},
        }
        path = (self.path / "params.yaml").resolve()  # a task of Ray has another current folder
        write_atomically(path, yaml.safe_dump(document, sort_keys=False).encode())
        params = load_params(path)
        for name in params.experiments:
            train, evaluation = self.manifests
            named = {"experiment": name}
            mine = Manifests(train.model_copy(update=named), evaluation.model_copy(update=named))
            shards = params.root / "shards" / name
            if not _same(shards, mine):
                write_manifests(shards, mine)
        return params

    def _experiment(self, variant: str, seed: int, steps: int) -> dict[str, Any]:
        sections, mine = self.sections(variant), self.steps_of(variant, steps)
        train = sections["train"]
        epochs = math.ceil(mine * train["batch_size"] / (self.manifests.train.images * train["patches_per_image"]))
        given = {"seed": seed, "max_steps": mine, "epochs": epochs, "hold_epochs": 0}
        often = min(self.base.run.checkpoint_every, math.ceil(mine / CHECKPOINTS))
        # Parts of a batch save memory and change no result; those of the project may suit its own batches alone.
        splits = network_config(sections["model"], self.study.name, "model").splits_batches
        parts = math.gcd(self.base.run.accumulate, train["batch_size"] // (train["lanes"] or 1)) if splits else 1
        run = {
            **{"workers": 1, "min_workers": None, "batch_per_worker": None, "accumulate": parts},
            **{"validate_every": 0, "validate_on": [], "checkpoint_every": often},
        }
        return {
            "task": self.study.task,
            "level": self.study.level,
            "model": sections["model"],
            "train": {**train, **given},
            "run": {**self.base.run.model_dump(), **run},
        }


def open_folder(
    study: Study, params: Params, path: Path, size: str, settings: Settings, experiment: str | None
) -> Folder:
    """Finds the experiment whose images the study uses, and its shards.

    Args:
        params: the project.
        path: the folder of the study; None was made yet.
        experiment: None: the first one of the study's task and level.
    Raises:
        UserError: if there is none, or its shards are missing.
    """
    level = f"{study.task}, level {study.level}"
    fit = [e.name for e in params.experiments.values() if (e.task_name, e.level) == (study.task, study.level)]
    if experiment is None and not fit:
        raise UserError(f"{params.path}: {study.name} needs an experiment of {level}, and there is none: add one.")
    base = params.experiment(experiment or fit[0])
    if base.name not in fit:
        raise UserError(f"--experiment: {base.name} is no experiment of {level}, which {study.name} is about.")
    try:
        manifests = Manifests(training_manifest(params, base.name), evaluation_manifest(params, base.name))
    except UserError as error:
        raise UserError(f"{study.name} uses the shards of {base.name}: {error}") from None
    return Folder(path=path, study=study, size=size, settings=settings, base=base, project=params, manifests=manifests)


def check_plan(plan: Plan, folder: Folder, minutes: float | None, steps: int | None) -> None:
    """Raises UserError if a plan is not that of this study, or other minutes or steps are asked for."""
    begun = f"{folder.path} holds a study that was begun"
    other = "name another folder with --out, or remove this one"
    anew = f"leave that out to go on with it, {other}"
    if (plan.study, plan.size, plan.experiment) != (folder.study.name, folder.size, folder.base.name):
        raise UserError(f"{begun} as {plan.study}, size {plan.size}, on {plan.experiment}: {anew}.")
    if plan.sha256 != folder.sha256:
        raise UserError(f"{begun} with other networks, recipes or images than there are now: {other}.")
    if minutes is not None and minutes != plan.minutes:
        told = "with a number of steps" if plan.minutes is None else f"with --minutes {plan.minutes:g}"
        raise UserError(f"{begun} {told} ({plan.steps} steps): {anew}.")
    if steps is not None and steps != plan.steps:
        raise UserError(f"{begun} with {plan.steps} steps: {anew}.")


def _same(folder: Path, manifests: Manifests) -> bool:
    """True if a folder holds these manifests already."""
    files = {"train.json": manifests.train.dumps(), "evaluation.json": manifests.evaluation.dumps()}
    return all((folder / name).is_file() and (folder / name).read_text() == text for name, text in files.items())
