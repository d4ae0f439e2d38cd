"""The identity of a run: network, recipe, training images, weights to start from, and code, which decide its weights.

Imports no PyTorch, so that `scn plan` answers quickly.
"""

from typing import Any

from scn.config.params import Experiment
from scn.core.hashing import code_sha256, sources
from scn.networks.sources import sources_of
from scn.shards.manifest import TrainingManifest

_TRAINING = (
    *("scn/training", "scn/data", "scn/config/train.py", "scn/inference/precision.py", "scn/shards/samples.py"),
    *("scn/imaging/tasks.py", "scn/networks/build.py"),
)
_ONLY_TOLD = "scn/training/callbacks.py"
_CHOOSING = "scn/training/validation.py"
_MEASURING = (
    *("scn/evaluation/images.py", "scn/evaluation/metrics.py", "scn/evaluation/protocols.py"),
    *("scn/inference/apply.py", "scn/imaging/degradation.py"),
)


def training_code(experiment: Experiment) -> str:
    """Returns the SHA-256 of the sources that decide the weights: loop, patches, network, choice of the best."""
    best = experiment.train.take_best_every is not None
    files = sources(*_TRAINING, without=(_ONLY_TOLD,) if best else (_ONLY_TOLD, _CHOOSING))
    files += sources(*_MEASURING) if best else []
    return code_sha256([*files, *sources_of(experiment.model.name)])


def recipe(experiment: Experiment) -> dict[str, Any]:
    """Returns all that decides the weights, except images and weights to start from, as JSON can hold it."""
    about: dict[str, Any] = {
        "architecture": experiment.architecture(),
        "train": experiment.train.model_dump(),
        "task": experiment.task_name,
        "level": experiment.level,
        "code_sha256": training_code(experiment),
    }
    if experiment.train.take_best_every is not None:
        about["evaluate"] = experiment.evaluate.model_dump()
    return about


def identity(
    experiment: Experiment, manifest: TrainingManifest, start: str | None, evaluation_sha256: str | None
) -> dict[str, Any]:
    """Returns the identity of a run: the same for every run that ends with the same weights.

    Args:
        start: SHA-256 of the weights to start from; None: random weights.
        evaluation_sha256: hash of the evaluation images; it counts only if the recipe takes the best weights.
    """
    grouped = experiment.train.group_mib is not None
    chosen_by = evaluation_sha256 if experiment.train.take_best_every is not None else None
    return {
        **recipe(experiment),
        "start_from": start,
        "manifest": manifest.sha256,
        # Images that come in groups come in the order of the shards; otherwise only the pixels count.
        "order": manifest.order if grouped else None,
        "chosen_by": chosen_by,
    }
