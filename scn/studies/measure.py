"""Figures of a network on evaluation sets; the one place where a study measures."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from scn.config.params import Experiment
from scn.core.hashing import digest
from scn.evaluation import protocols
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import degrade, measurable, restore
from scn.evaluation.protocols import average, rounded
from scn.inference.apply import device_of, prepare
from scn.inference.precision import computed
from scn.inference.records import Figures
from scn.networks.scn.network import SCN
from scn.shards.manifest import EvaluationManifest
from scn.shards.pipeline import read_samples
from scn.shards.samples import Sample
from scn.storage.base import Store
from scn.studies.records import Point


def measure(
    network: nn.Module | None, experiment: Experiment, manifest: EvaluationManifest, store: Store, sets: Sequence[str]
) -> dict[str, Figures]:
    """Measures a network, or for None the degraded images, on evaluation sets under the task's protocol.

    Returns:
        evaluation set -> means over its images.
    Raises:
        UserError: if a shard is missing or damaged, or an image is too small for the protocol.
    """
    found = {}
    for name in sets:
        samples = read_samples(store, manifest.sets[name].shards, experiment.name, experiment.level)
        figures = [_figures(network, experiment, sample) for sample in measurable(samples, experiment, name)]
        found[name] = Figures(psnr=average(f.psnr for f in figures), ssim=average(f.ssim for f in figures))
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


def key_of(
    experiment: Experiment,
    manifest: EvaluationManifest,
    sets: Sequence[str],
    key: str = "",
    values: Sequence[float] = (),
) -> str:
    """A hash of all that decides figures besides the weights: two that agree need not be measured again."""
    return digest(
        {
            "images": {name: manifest.sets[name].content for name in sets},
            "protocol": experiment.task.protocol.name,
            "level": experiment.level,
            "evaluate": experiment.evaluate.model_dump(),
            "code": evaluation_code(experiment.model.name),
            "sweep": [key, *map(float, values)],
        }
    )


def _figures(network: nn.Module | None, experiment: Experiment, sample: Sample) -> Figures:
    image, seen = degrade(sample, experiment)
    shown: NDArray[np.uint8] = seen
    if network is not None:
        model = prepare(network)
        shown = restore(model, device_of(model), image, sample, experiment)
    figures = protocols.measure(shown, sample.hr, experiment.task, experiment.scale)
    return Figures(psnr=rounded(figures.psnr), ssim=rounded(figures.ssim))
