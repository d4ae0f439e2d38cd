"""The stages plan@E and start@E: files, for DVC to compare, with everything that decides an experiment's results.

    plans/<experiment>/shards.json          what decides its shards: images, how they are degraded and cut, code
    plans/<experiment>/train/recipe.json    what decides its weights besides the shards: network, recipe, code
    plans/<experiment>/train/start.json     SHA-256 of the weights it starts from, where start_from names some
    plans/<experiment>/evaluation.json      what decides its figures besides model and images
    plans/<experiment>/card.json            what decides its model card besides model and figures

So a stage becomes stale when something that decides its result changes, not whenever a file does. Imports no PyTorch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import code_sha256, file_sha256, sources
from scn.evaluation.code import evaluation_code
from scn.evaluation.protocols import protocols_of
from scn.networks import NETWORKS
from scn.registry.model_card import licences
from scn.training.identity import recipe

_CARD = ("scn/inference/records.py", "scn/registry/model_card.py")
START = "start.json"
_DATA_PREPARATION = (
    *("scn/corpora/corpora.py", "scn/corpora/images.py", "scn/corpora/reading.py"),
    *("data_prep/fingerprints.py", "data_prep/overlap.py"),
    *("data_prep/packing.py", "data_prep/placement.py", "data_prep/prepare.py", "data_prep/shards.py"),
    *("scn/imaging/degradation.py", "scn/imaging/tasks.py"),
    *("scn/shards/manifest.py", "scn/shards/samples.py"),
)


def write_plan(params: Params, name: str) -> list[Path]:
    """Writes the plan of the experiment `name`, without start.json; returns its files, in the order of the stages.

    Removes a start.json that is left from when start_from named the experiment.

    Raises:
        UserError: if there is no such experiment, or indexes/ lacks a corpus of it.
    """
    experiment, folder = params.experiment(name), params.root / "plans" / name
    written = {
        folder / "shards.json": _shards(params, experiment),
        folder / "train" / "recipe.json": _training(params, experiment),
        folder / "evaluation.json": _evaluation(experiment),
        folder / "card.json": _card(params, experiment),
    }
    for path, content in written.items():
        _write(path, content)
    if experiment.start_from is None:
        (folder / "train" / START).unlink(missing_ok=True)
    return list(written)


def write_start(params: Params, name: str) -> Path:
    """Writes start.json, the hash of the weights that the experiment `name` starts from, and returns its path.

    Raises:
        UserError: if params.yaml names none, or they are missing.
    """
    path = params.root / "plans" / name / "train" / START
    _write(path, {"sha256": file_sha256(start_weights(params, name))})
    return path


def start_weights(params: Params, name: str) -> Path:
    """Returns the file with the weights that the experiment `name` starts from.

    Raises:
        UserError: if params.yaml names none, or they are missing.
    """
    start_from = params.experiment(name).start_from
    if start_from is None:
        raise UserError(f"{params.path}: start_from has no entry for {name}: add one, or train from random weights.")
    weights = params.root / Path(start_from).expanduser() / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"start_from of {name}: {start_from} is no folder with a model: train it first, or name a folder such as "
            "models/sr-x2 or scn/zoo/sr-x2."
        )
    return weights


def _shards(params: Params, experiment: Experiment) -> dict[str, Any]:
    return {
        "task": experiment.task_name,
        "level": experiment.level,
        "data": experiment.data.model_dump(),
        "smallest": experiment.train.patch_size * experiment.scale,
        "corpora": _corpora(params, [*experiment.data.train, *experiment.data.evaluation]),
        "code_sha256": code_sha256(sources(*_DATA_PREPARATION)),
    } | ({"grouped": True} if experiment.train.group_mib is not None else {})  # train.sha256 has their order then


def _training(params: Params, experiment: Experiment) -> dict[str, Any]:
    about = recipe(experiment)
    if experiment.train.take_best_every is not None:  # then the evaluation sets choose the weights
        about["chosen_by"] = _corpora(params, experiment.data.evaluation)
    return about


def _evaluation(experiment: Experiment) -> dict[str, Any]:
    return {
        "evaluate": experiment.evaluate.model_dump(),
        "protocols": [rule.name for rule in protocols_of(experiment.task)],
        "code_sha256": evaluation_code(experiment.model.name),
    }


def _card(params: Params, experiment: Experiment) -> dict[str, Any]:
    network = NETWORKS[experiment.model.name]
    return {
        "licences": licences(params, experiment.name),
        "network": [network.title, network.paper, network.section],
        "code_sha256": code_sha256(sources(*_CARD)),
    }


def _corpora(params: Params, references: list[str]) -> dict[str, str]:
    """Reference of a corpus -> SHA-256 of its index."""
    found = {}
    for reference in sorted(set(references)):
        corpus = reference.partition("/")[0]
        index = params.root / "indexes" / f"{corpus}.json"
        try:
            found[reference] = file_sha256(index)
        except OSError:
            stage = "download" if corpus in params.corpora.download else "index"
            raise UserError(f"{index} does not exist: run `dvc repro {stage}@{corpus}`.") from None
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
