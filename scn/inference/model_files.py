"""Model folders: model.safetensors holds the weights, config.json the architecture and more."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.schema import UnknownNameError
from scn.networks import completed
from scn.networks.build import build_on_meta, fold

WEIGHTS, CONFIG, METRICS, CARD = "model.safetensors", "config.json", "metrics.json", "README.md"
BEGINNING = frozenset({"initial"})
"""Parameters of networks that decide only how a training begins: no part of what a trained network is."""


def save_model(folder: Path, network: nn.Module, architecture: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Writes a model folder: the weights, and config.json, from which the network can be built.

    Weight normalisation is folded into the weights, which changes `network`. Each file appears whole; config.json,
    without which the folder is no model, comes last.

    Args:
        architecture: name, parameters, channels and scale of the network, as scn.networks.build takes them; those in
            BEGINNING are left out.
        about: more keys for config.json (experiment, training figures, hashes).
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in fold(network).state_dict().items()}
    write_atomically(folder / WEIGHTS, save(state))
    # The fewer parameters it names, the more versions of scn can load it. Their defaults are not left out: those of a
    # later version may be others.
    config = {**about, "architecture": _lasting(architecture)}
    write_atomically(folder / CONFIG, (json.dumps(config, indent=1, sort_keys=True) + "\n").encode())


def check_fits(config: Mapping[str, Any], folder: Path, experiment: Experiment) -> None:
    """Checks that a model is one of an experiment as params.yaml describes it now.

    Parameters that the model's config.json leaves out, as one made before they existed does, have their defaults.

    Args:
        config: the model's config.json; one that was imported names no level, which then may be any.
        folder: where the model lies, for the message.
    Raises:
        UserError: if its architecture, task or level is another.
    """
    found: dict[str, Any] = {key: config.get(key) for key in ("architecture", "task", "level")}
    expected: dict[str, Any] = {
        "architecture": experiment.architecture(),
        "task": experiment.task_name,
        "level": experiment.level,
    }
    if isinstance(found["architecture"], dict):
        for side in (found, expected):
            side["architecture"] = _lasting(completed(side["architecture"]))
    for key, value in expected.items():
        if found[key] not in (None, value):
            raise UserError(
                f"{folder} holds a model of another {key} than params.yaml describes for {experiment.name}: describe "
                f"that one there, or run `dvc repro train@{experiment.name}`."
            )


def _lasting(architecture: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in architecture.items() if key not in BEGINNING}


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Reads a model folder; returns the network in eval mode and the content of config.json.

    Raises:
        UserError: if a file is missing or damaged, the network is not known here, or the weights are those of another
            architecture.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is no model folder: it has no {name}; train the experiment, or name another folder."
            )
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        architecture = config["architecture"]
        if not isinstance(architecture, dict):
            raise TypeError("its architecture is no table of parameters")
        state = load((folder / WEIGHTS).read_bytes())
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder} holds a damaged model ({error}): fetch or train it again.") from None
    # Its weights are folded: the parametrisation would leave a hook behind, with which nothing can be pickled.
    plain = {"weight_norm": False} if "weight_norm" in architecture else {}
    try:
        network = fold(build_on_meta({**architecture, **plain})).eval()  # the random state is the caller's
    except UserError as error:
        why = str(error).removeprefix("The network: ").rstrip(".")
        if not isinstance(error, UnknownNameError):
            raise UserError(
                f"{folder / CONFIG} is damaged ({why}): correct it, or fetch or train the model again."
            ) from None
        raise unknown_model(folder, re.sub(": use one of .*", "", why)) from None
    expected = network.state_dict()
    wrong = [
        k
        for k in sorted({*expected, *state})
        if k not in state or k not in expected or state[k].shape != expected[k].shape
    ]
    if wrong:
        raise UserError(
            f"{folder / WEIGHTS} holds the weights of another architecture than {CONFIG} describes "
            f"({len(wrong)} tensors differ, first '{wrong[0]}'): use the pair of files that were published together."
        )
    # float32, whatever PyTorch's default is; and copies, as the file's tensors lie in its bytes, maybe not aligned
    types = {k: torch.float32 if v.is_floating_point() else v.dtype for k, v in expected.items()}
    network.load_state_dict({k: v.to(types[k], copy=True) for k, v in state.items()}, assign=True)
    return network, config


def unknown_model(folder: Path, why: str) -> UserError:
    """The error for a model folder that a newer version of scn has written, as it may be; or somebody misspelt it."""
    other = f"correct {CONFIG} there" if "did you mean" in why else "use another version of the model"
    return UserError(f"{folder} holds a model that this version of scn does not know ({why}): update scn, or {other}.")


def ancestors_of(folder: Path, name: str, weights_sha256: str) -> list[dict[str, Any]]:
    """What is known of weights that a training starts from, and of those that they came from, the last ones first.

    Args:
        folder: the model folder of the weights, whose config.json may be missing or say nothing.
        name: what params.yaml calls them.
    Returns:
        for each its `name` and `weights_sha256`, and its `training_corpora`: corpus -> SHA-256 of its images, or None
        where that is not known.
    """
    config: Any = {}
    with suppress(OSError, ValueError):
        config = json.loads((folder / CONFIG).read_bytes())
    config = config if isinstance(config, dict) else {}
    about = {"name": name, "weights_sha256": weights_sha256, "training_corpora": config.get("training_corpora")}
    before = list(config.get("ancestors") or [])
    if not before and (start := config.get("start_from")):  # of a version of this project that did not note them
        sha256 = (config.get("identity") or {}).get("start_from")
        before = [{"name": start, "weights_sha256": sha256, "training_corpora": None}]
    return [about, *before]


def inherited_corpora(config: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """The corpora that a model's ancestors were trained on and it was not, and whether all ancestors' are known."""
    own, found, known = config.get("training_corpora") or {}, dict[str, str](), True
    for ancestor in config.get("ancestors") or []:
        known = known and ancestor["training_corpora"] is not None
        for name, sha256 in (ancestor["training_corpora"] or {}).items():
            if own.get(name) != sha256:
                found.setdefault(name, sha256)
    return found, known
