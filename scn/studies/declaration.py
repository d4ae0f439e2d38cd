"""Declarations of studies: YAML files with a strict schema. Imports no PyTorch."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from scn.config.document import load_yaml
from scn.config.overrides import SOURCE, parse
from scn.config.train import TrainConfig
from scn.core.errors import UserError
from scn.core.schema import Section, check, unknown
from scn.evaluation.protocols import PROTOCOLS
from scn.imaging.tasks import TASKS
from scn.networks import NetworkConfig, network_config
from scn.networks.scn.config import ScnConfig, UnsharedBase, check_pyramid

FOLDER = Path(__file__).parent
"""The folder of the studies that ship, NAME.yaml."""
ALL = "all"
"""The key of a size whose settings hold for every variant."""
GIVEN = ("seed", "epochs", "max_steps", "hold_epochs", "halve_every_epochs", "halve_every_steps", "late_loss")
"""Keys of `train` that no setting may name: they follow from the number of steps and the seed."""
Settings = dict[str, Any]
"""SECTION.KEY -> value, as for --set; the sections are `model` and `train`."""


class Place(Section):
    """The place of a variant in a plot of curves."""

    line: str
    """Name of the curve that the variant is a point of."""
    x: float
    """Value on the horizontal axis."""


class Variant(Section):
    """A network, or a recipe, that a study compares with others."""

    title: str
    """Name in tables and plots, as the paper has it."""
    settings: Settings = Field(default={})
    """What differs from the other variants, at every size."""
    share: float = Field(default=1, gt=0, le=1)
    """Number of steps, relative to that of the study."""
    place: Place | None = None
    """Place in a plot of curves; None: the plot has a column for each variant."""
    printed: dict[str, float] = Field(default={})
    """Evaluation set -> PSNR in dB that the paper prints."""
    printed_parameters: str = ""
    """Number of parameters that the paper prints, with its unit."""
    printed_macs: str = ""
    """Multiply-adds that the paper prints, with their unit."""


class Printed(Section):
    """What is to be known about the printed figures."""

    how: str = ""
    """How the paper measured them; empty: nothing is printed."""
    note: str = ""
    """What the paper shows without figures, such as the course of a curve."""


class Sweep(Section):
    """Pyramids that a trained network is measured with besides that of its training (SCN paper, figures 7 and 8)."""

    scales: list[int] = Field(default=[])
    """Numbers of scales, ascending."""
    ratio: list[float] = Field(default=[])
    """Ratios between scales, ascending."""

    @model_validator(mode="after")
    def _one(self) -> "Sweep":
        if bool(self.scales) == bool(self.ratio):
            raise ValueError("give one of scales and ratio, as one axis is swept")
        if list(self.values) != sorted(set(self.values)):
            raise ValueError(f"{self.key}: the values must ascend")
        return self

    @property
    def key(self) -> str:
        """The parameter that is swept: "scales" or "ratio"."""
        return "scales" if self.scales else "ratio"

    @property
    def values(self) -> Sequence[float]:
        """The values of the parameter."""
        return self.scales or self.ratio


class Study(Section):
    """A declared study: variants of one thing, trained on equal terms, and the paper's figures for them."""

    name: str
    """Name of the study, which is that of its file."""
    paper: str = ""
    """Authors, title and year of the paper; empty: the study repeats no paper's."""
    table: str = ""
    """The table or figure of the paper."""
    title: str
    """What the study is about, in a few words."""
    question: str
    """What the study asks, in a paragraph."""
    equal: str = ""
    """What is held equal over the variants, besides images, patches, steps and recipe."""
    unlike: str = ""
    """How the study differs from what the paper did."""
    task: str
    """Task of the experiment whose images are used."""
    level: int
    """Level of that experiment: scale, sigma or quality."""
    reference: str
    """The variant that the others are compared with."""
    seeds: int = Field(default=3, ge=1)
    """Number of trainings of each variant."""
    evaluation: list[str] = Field(min_length=1)
    """The sets that are measured, of those that the experiment has; if it has none of these, all that it has."""
    common: Settings = Field(default={})
    """Settings of all variants at every size."""
    sizes: dict[str, dict[str, Settings]] = Field(min_length=1)
    """Size of the networks -> `all` or a variant -> settings; the first size is the default. A variant's settings here
    go before its own, these before those of `all`, and these before `common`."""
    variants: dict[str, Variant] = Field(min_length=2)
    """The variants, by name."""
    protocol: str
    """Protocol of the figures that are shown, that of the printed ones (scn.evaluation.protocols)."""
    printed: Printed = Printed()
    """What is to be known about the paper's figures."""
    sweep: Sweep | None = None
    """Pyramids that every trained network is measured with; None: only that of its training."""
    axis: str = ""
    """Name of the horizontal axis of a plot of curves."""

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        if self.task not in TASKS:
            raise ValueError(f"task: {unknown(self.task, list(TASKS), 'task')}")
        if self.table and not self.paper:
            raise ValueError("table: has no paper; name it in `paper`")
        if any(variant.printed for variant in self.variants.values()) and not self.printed.how:
            raise ValueError("printed.how: variants have printed figures; say how those were measured")
        known = [rule.name for rule in PROTOCOLS[self.task]]
        if self.protocol not in known:
            raise ValueError(f"protocol: {unknown(self.protocol, known, f'protocol of {self.task}')}")
        for name in self.variants:
            if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) or name == ALL:
                raise ValueError(f"variants: '{name}' is no name of a variant: use a-z, 0-9, '-' and '.'")
        if self.reference not in self.variants:
            raise ValueError(f"reference: {unknown(self.reference, list(self.variants), 'variant')}")
        for size, parts in self.sizes.items():
            for name in parts.keys() - {ALL, *self.variants}:
                raise ValueError(f"sizes.{size}: {unknown(name, [ALL, *self.variants], 'variant')}")
        settings = [self.common, *(v.settings for v in self.variants.values())]
        settings += [part for parts in self.sizes.values() for part in parts.values()]
        for key in {key for part in settings for key in part}:
            _check_key(key)
        if 0 < sum(v.place is not None for v in self.variants.values()) < len(self.variants):
            raise ValueError("variants: some have a place in the plot, some don't: give it to all or to none")
        return self

    def check_size(self, size: str | None) -> str:
        """The name of a size; None is the first one. Raises UserError for an unknown one."""
        if size is None:
            return next(iter(self.sizes))
        if size not in self.sizes:
            raise UserError(f"--size: {unknown(size, list(self.sizes), f'size of {self.name}')}.")
        return size

    def sections(self, variant: str, size: str, settings: Settings | None = None) -> dict[str, Settings]:
        """The sections `model` and `train` of a variant, checked and complete but for the keys in GIVEN.

        Args:
            settings: go before all that the study says.
        Raises:
            UserError: for a key or a value that the network or the recipe does not have, or a sweep to a pyramid that
                the network can't have.
        """
        parts = self.sizes[size]
        own = self.variants[variant].settings
        merged = {**self.common, **parts.get(ALL, {}), **own, **parts.get(variant, {})}
        model, train = Settings(), Settings()
        for key, value in {**merged, **(settings or {})}.items():
            _check_key(key)
            section, _, name = key.partition(".")
            (model if section == "model" else train)[name] = value
        source = f"The study {self.name}, variant {variant}, size {size}"
        complete = check(TrainConfig, {"schedule": "cosine", **train, "hold_epochs": 0}, source, "train")
        if complete.schedule == "halving":
            raise UserError(f"{source}: train.schedule: halving can't be scaled to any number of steps: use cosine.")
        network = network_config(model, source, "model")
        if self.sweep:
            self._check_sweep(self.sweep, variant, network, source)
        return {"model": network.model_dump(), "train": complete.model_dump(exclude=set(GIVEN))}

    @staticmethod
    def _check_sweep(sweep: Sweep, variant: str, network: NetworkConfig, source: str) -> None:
        """Raises UserError if a network can't have one of the pyramids, which else would be told after its training."""
        if not isinstance(network, ScnConfig | UnsharedBase):
            raise UserError(f"{source}: sweep: the network of {variant} has no pyramid that can be changed.")
        most, resampling, before = None if network.shared else network.scales, network.resampling, network.ratio
        for value in sweep.values:
            pyramid: dict[str, Any] = {"scales": network.scales, "ratio": network.ratio, sweep.key: value}
            try:
                check_pyramid(**pyramid, most=most, resampling=resampling, before=before)
            except UserError as error:
                raise UserError(f"{source}: sweep: {error}") from None


def _check_key(key: str) -> None:
    """Raises ValueError for a setting that no study may have."""
    section, _, name = key.partition(".")
    if section not in ("model", "train") or not name:
        raise ValueError(f"'{key}' is no setting of a study: begin with model. or train.")
    if section == "train" and name in (*GIVEN, "take_best_every", "take_best_on"):
        raise ValueError(f"'{key}' is no setting of a study, which gives all trainings their steps and their seeds.")


def parse_settings(settings: Sequence[str]) -> Settings:
    """Reads the settings KEY=VALUE of a command line. Raises UserError for a key that no study may have."""
    found = dict(parse(settings))
    for key in found:
        try:
            _check_key(key)
        except ValueError as error:
            raise UserError(f"{SOURCE}: {error}") from None
    return found


def study_names() -> list[str]:
    """The names of the studies that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def describe_studies() -> str:
    """All studies that ship: name, table, title, and number of variants and seeds, a line each."""
    lines = []
    for name in study_names():
        study = load_study(name)
        cost = f"{len(study.variants)} variants, {study.seeds} seeds"
        lines.append(f"{name:<20}{study.title} ({study.paper.partition(':')[0]}: {study.table}); {cost}")
    return "\n".join(lines)


def load_study(name: str) -> Study:
    """Reads a study and checks every variant at every size.

    Args:
        name: one that ships, or the path of a YAML file.
    Raises:
        UserError: if there is none, or for the first mistake in it.
    """
    own = name.endswith((".yaml", ".yml"))
    if not own and name not in study_names():
        raise UserError(f"{unknown(name, study_names(), 'study')}; or name a YAML file.")
    path = Path(name) if own else FOLDER / f"{name}.yaml"
    try:
        raw = load_yaml(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read ({error}): name a study or its YAML file.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML ({' '.join(str(error).split())}): mend it.") from None
    if not isinstance(raw, Mapping):
        raise UserError(f"{path} declares nothing: see docs/studies.md.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", path.stem):  # it begins the names of experiments
        raise UserError(
            f"{path}: a study is called as its file is, and '{path.stem}' is no name: begin with a letter or a digit, "
            "and use letters, digits, '_', '.' and '-' only."
        )
    if "name" in raw:
        raise UserError(f"{path}: name: a study is called as its file is: leave it out.")
    study = check(Study, {**raw, "name": path.stem}, path)
    for variant in study.variants:
        for size in study.sizes:
            study.sections(variant, size)
    return study
