"""What decides the weights of a run: network, recipe, training images, the weights to start from, and code.

No PyTorch here: `scn plan` asks for this too.
"""

from typing import Any

from scn.config.params import Experiment
from scn.core.hashing import code_sha256, sources
from scn.networks.sources import sources_of
from scn.shards.manifest import TrainingManifest

_TRAINING = ("scn/training", "scn/data", "scn/config/train.py", "scn/inference/precision.py", "scn/shards/samples.py")
_CHOOSING = "scn/training/validation.py"
_MEASURING = (
    *("scn/evaluation/images.py", "scn/evaluation/metrics.py", "scn/evaluation/protocols.py"),
    *("scn/inference/apply.py", "scn/imaging/degradation.py", "scn/shards/pipeline.py"),
)


def training_code(experiment: Experiment) -> str:
    """SHA-256 of the sources that decide the weights: of the loop, the patches, the network, the choice of the best."""
    best = experiment.train.take_best_every is not None
    files = sources(*_TRAINING, without=() if best else (_CHOOSING,))
    files += sources(*_MEASURING) if best else []
    return code_sha256([*files, *sources("scn/imaging/tasks.py"), *sources_of(experiment.model.name)])


def recipe(experiment: Experiment) -> dict[str, Any]:
    """What decides the weights besides images and weights to start from, as JSON can hold it."""
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
    """The identity of a run; the same for every run that ends with the same weights.

    Args:
        start: SHA-256 of the weights to start from.
        evaluation_sha256: the images that choose the best weights, if the recipe asks for these.
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
