"""Reads what the stages left of each experiment that was measured, for reports; imports no PyTorch."""

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.corpora.licences import licence_in
from scn.evaluation.results import Evaluation, SetResult, figures_of, result_file
from scn.inference.model_config import WEIGHTS, inherited_corpora
from scn.inference.records import Figures, Metrics, Receipt, Record

R = TypeVar("R", bound=Record)
Curve = list[tuple[float, float]]
"""Step and value of each point, in the order of the steps."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """An experiment that was measured, or a model that ships, and what its files say of it."""

    name: str
    evaluation: Evaluation
    """Of a model that ships without figures of single images."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The content of its config.json; empty if there is none here."""
    version_url: str | None = None
    """The folder of the published version; None: these weights were not published."""
    other_version: str | None = None
    """The version, such as "v3", that was published last and holds other weights than were measured."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """Training corpus -> licence of its images, where it is known."""
    ships: bool = False
    """True: the model ships with the project, and was not made in this workspace."""

    @property
    def architecture(self) -> Mapping[str, Any] | None:
        """What scn.networks.build takes; None if the model is not here."""
        found = self.config.get("architecture")
        return found if isinstance(found, dict) else None

    @property
    def published(self) -> str:
        """Where the weights are published, or that they are not, for people."""
        other = f" ({self.other_version} holds other weights)" if self.other_version else ""
        return self.version_url or f"not published{other}"

    @property
    def training_corpora(self) -> Mapping[str, str]:
        """Training corpus -> SHA-256 of its images, those of its first weights at the end; empty if it is not known."""
        found = self.config.get("training_corpora")
        return {**found, **inherited_corpora(self.config)[0]} if isinstance(found, dict) else {}

    def figures(self, set_name: str, protocol: str, method: str) -> Figures | None:
        """Returns the means over an evaluation set; None where they were not measured."""
        result = self.evaluation.sets.get(set_name)
        return result.mean.get(protocol, {}).get(method) if result else None


def read_runs(params: Params) -> list[Run]:
    """Returns every experiment that was measured with self-ensemble, in the order of params.yaml.

    Those that were measured before their model was trained again are left out, which `left_out` tells.

    Raises:
        UserError: if none was measured yet, or a file can't be read.
    """
    found = [run for name in params.experiments if (run := _read_run(params, name))]
    if not found:
        none = f"{params.root / 'evaluations'} has no figures of any experiment yet: run `dvc repro` first."
        raise UserError("\n".join(left_out(params)) or none)
    return found


def left_out(params: Params) -> list[str]:
    """Returns a sentence for each experiment whose figures are of other weights than its model has.

    Raises:
        UserError: if a file can't be read.
    """
    measured = {name: _evaluation(params, name) for name in params.experiments}
    others = {name: _other_weights(params, each) for name, each in measured.items() if each}
    return [
        f"The figures of {name} are of other weights than {other}, and left out: run `dvc repro ensemble@{name}`."
        for name, other in others.items()
        if other
    ]


def read_evaluation(params: Params, name: str) -> Evaluation | None:
    """Returns the figures of an experiment with self-ensemble; None without any, or of other weights than its model's.

    Raises:
        UserError: if a file can't be read, or self-ensemble is missing.
    """
    evaluation = _evaluation(params, name)
    if evaluation is None or _other_weights(params, evaluation):
        return None
    figures_of(evaluation)  # tells if self-ensemble is missing
    return evaluation


def read_shipped(folder: Path) -> Run:
    """Returns a model that ships, from the folder of its version, such as scn/zoo/dn-s25.

    Raises:
        UserError: if a file is missing or damaged.
    """
    again = "restore the folder from git"
    metrics = read_record(Metrics, folder / "metrics.json", again)
    config = _json(folder / "config.json")
    if metrics is None or not {"task", "level"} <= config.keys():
        raise UserError(f"{folder} lacks metrics.json or config.json: {again}.")
    first = metrics.provenance.protocol
    sets = {}
    for name, figures in metrics.sets.items():
        means = {first: {"input": figures.input, "model": figures.model, "ensemble": figures.ensemble}}
        sets[name] = SetResult(mean={**means, **(figures.further or {})}, images=[])
    evaluation = Evaluation(
        experiment=folder.name, task=config["task"], level=config["level"], sets=sets, provenance=metrics.provenance
    )
    return Run(name=folder.name, evaluation=evaluation, config=config, ships=True)


def read_curves(folder: Path) -> dict[str, Curve]:
    """Returns the curves of a training, by name, from its tables FOLDER/<name>.tsv; rows without a number are left out.

    The name of a validation's curve is "psnr_" and the evaluation set, with "-" in place of "/".
    """
    curves = {}
    for path in sorted(folder.glob("*.tsv")):
        points = []
        # A damaged byte spoils its row alone.
        with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
            for row in csv.reader(file, delimiter="\t"):
                with suppress(ValueError):  # the header, or a row that was cut off
                    step, value = map(float, row)
                    points += [(step, value)] if isfinite(value) else []
        if points:
            curves[path.stem] = points
    return curves


def _read_run(params: Params, name: str) -> Run | None:
    evaluation = read_evaluation(params, name)
    if evaluation is None:
        return None
    receipt = read_record(Receipt, params.root / "published" / f"{name}.json", f"run `dvc repro publish@{name}`")
    noted = receipt.weights_sha256 if receipt else None
    other = noted is not None and noted != evaluation.provenance.weights_sha256
    config = _json(params.root / "models" / name / "config.json")
    corpora = {**(config.get("training_corpora") or {}), **inherited_corpora(config)[0]}
    indexes = {corpus: _json(params.root / "indexes" / f"{corpus.partition('/')[0]}.json") for corpus in corpora}
    return Run(
        name=name,
        evaluation=evaluation,
        config=config,
        version_url=receipt.url if receipt and not other else None,
        other_version=receipt.version if receipt and other else None,
        licences={
            corpus: licence
            for corpus, index in indexes.items()
            if (licence := licence_in(index, corpus, str(corpora[corpus])))
        },
    )


def _evaluation(params: Params, name: str) -> Evaluation | None:
    return read_record(Evaluation, result_file(params.root, name, "ensemble"), f"run `dvc repro ensemble@{name}`")


def _other_weights(params: Params, evaluation: Evaluation) -> str:
    """The file, below the folder of params.yaml, that tells of other weights than were measured; "" if none does."""
    name, measured = evaluation.experiment, evaluation.provenance.weights_sha256
    weights, first = params.root / "models" / name / WEIGHTS, result_file(params.root, name, "model")
    with suppress(OSError):  # it may lie elsewhere
        if file_sha256(weights) != measured:
            return weights.relative_to(params.root).as_posix()
    # Then the pictures are of these weights, too.
    found = (_json(first).get("provenance") or {}).get("weights_sha256", measured)
    return "" if found == measured else first.relative_to(params.root).as_posix()


def read_record(kind: type[R], path: Path, cure: str) -> R | None:
    """The record in a file; None if there is none. Raises UserError, with the cure, if it is something else."""
    try:
        return kind.loads(path.read_bytes(), path, cure)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): {cure}.") from None


def _json(path: Path) -> dict[str, Any]:
    """The object in a file that only adds to a report; an empty one if it is missing or damaged."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}
