"""Figures of a network on evaluation sets; the one place where a study measures."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from scn.config.params import Experiment
from scn.core.hashing import digest
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import measurable, restorer
from scn.evaluation.measuring import Method, means, measure_sample
from scn.inference.apply import device_of, prepare
from scn.inference.precision import computed
from scn.inference.records import Figures
from scn.networks.scn.network import SCN
from scn.shards.manifest import EvaluationManifest
from scn.shards.pipeline import read_samples
from scn.storage.base import Store
from scn.studies.records import Point

ONLY = "network"
"""Name of the method that is measured."""


def measure(
    network: nn.Module | None, experiment: Experiment, manifest: EvaluationManifest, store: Store, sets: Sequence[str]
) -> dict[str, dict[str, Figures]]:
    """Measures a network, or for None the degraded images, on evaluation sets under every protocol of the task.

    Returns:
        protocol -> evaluation set -> means over its images; a set with images that a protocol can't measure is not
        there.
    Raises:
        UserError: if a shard is missing or damaged, or an image is too small for the task's first protocol.
    """
    methods: dict[str, Method | None] = {ONLY: None if network is None else restorer(experiment, network)}
    found: dict[str, dict[str, Figures]] = {}
    for name in sets:
        samples = read_samples(store, manifest.sets[name].shards, manifest.stage, experiment.level)
        images = (
            measure_sample(experiment, methods, {}, sample).result for sample in measurable(samples, experiment, name)
        )
        for protocol, figures in means(images).items():
            found.setdefault(protocol, {})[name] = figures[ONLY]
    return found


def sweep(
    network: nn.Module, key: str, values: Sequence[float], figures: Callable[[nn.Module], Mapping[str, Figures]]
) -> list[Point]:
    """Measures a network with several pyramids, and gives it back with that of its training.

    Args:
        network: an SCN, whose weights are the same at every scale.
        key: "scales" or "ratio".
        values: of the key; the other one stays as in training.
        figures: measures the network as it is.
    Raises:
        UserError: for a pyramid that the network can't have.
    """
    assert isinstance(network, SCN), "only SCN has set_pyramid"
    before = network.trunk.scales, network.trunk.ratio
    points = []
    for value in values:
        network.set_pyramid(scales=int(value)) if key == "scales" else network.set_pyramid(ratio=value)
        points.append(Point(value=float(value), sets=figures(network)))
    network.set_pyramid(scales=before[0], ratio=before[1])
    return points


def precision_of(network: nn.Module, experiment: Experiment) -> str:
    """The precision that a network is measured in on this machine."""
    return computed(device_of(prepare(network)), experiment.evaluate.precision)


def key_of(experiment: Experiment, manifest: EvaluationManifest, sets: Sequence[str], *further: object) -> str:
    """A hash of all that decides figures besides the weights: two that agree need not be measured again.

    Args:
        further: what decides them besides, as JSON can hold it: protocol and pyramids.
    """
    return digest(
        {
            "images": {name: manifest.sets[name].content for name in sets},
            "task": experiment.task_name,
            "level": experiment.level,
            "evaluate": experiment.evaluate.model_dump(),
            "code": evaluation_code(experiment.model.name),
            "further": list(further),
        }
    )
