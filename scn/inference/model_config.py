"""What a model folder's files are called, and what its config.json tells; imports no PyTorch."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.networks import completed

WEIGHTS, CONFIG, METRICS, CARD = "model.safetensors", "config.json", "metrics.json", "README.md"
BEGINNING = frozenset({"initial"})
"""Parameters of networks that decide only how a training begins: no part of what a trained network is."""


def lasting(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture without what decides only how a training begins."""
    return {key: value for key, value in architecture.items() if key not in BEGINNING}


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
            side["architecture"] = lasting(completed(side["architecture"]))
    for key, value in expected.items():
        if found[key] not in (None, value):
            raise UserError(
                f"{folder} holds a model of another {key} than params.yaml describes for {experiment.name}: describe "
                f"that one there, or run `dvc repro train@{experiment.name}`."
            )


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
