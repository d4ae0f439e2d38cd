"""The stages evaluate and ensemble: restore and measure an experiment's evaluation sets, and write the figures."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import file_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import degrade, measurable, restore
from scn.evaluation.protocols import average, measure, rounded
from scn.evaluation.results import Evaluation, ImageFigures, SetEvaluation
from scn.inference.apply import device_of, prepare
from scn.inference.ensemble import self_ensemble
from scn.inference.model_files import WEIGHTS, check_fits, load_model
from scn.inference.precision import computed
from scn.inference.records import Figures, Metrics, Provenance, Record, SetFigures
from scn.shards.manifest import EvaluationManifest, evaluation_manifest
from scn.shards.pipeline import read_samples
from scn.shards.samples import Sample
from scn.storage import open_store
from scn.storage.base import Store

R = TypeVar("R", ImageFigures, Figures)
"""What is found about one image."""


def evaluate(
    experiment: Experiment, manifest: EvaluationManifest, store: Store, network: nn.Module
) -> dict[str, SetEvaluation]:
    """Measures the degraded input and the model on every evaluation set.

    Returns:
        evaluation set -> its figures.
    Raises:
        UserError: if a shard is damaged, or an image is too small for the protocol.
    """
    results = _over_images(partial(_score, experiment, network), experiment, manifest, store)
    return {
        name: SetEvaluation(input=_mean(row.input for row in rows), model=_mean(row.model for row in rows), images=rows)
        for name, rows in results.items()
    }


def add_ensemble(
    sets: Mapping[str, SetEvaluation],
    experiment: Experiment,
    manifest: EvaluationManifest,
    store: Store,
    network: nn.Module,
) -> dict[str, SetFigures]:
    """Measures the model with geometric self-ensemble, and joins this to what `evaluate` has found.

    Returns:
        evaluation set -> its figures.
    Raises:
        UserError: if a shard is damaged.
    """
    results = _over_images(partial(_score_ensemble, experiment, network), experiment, manifest, store)
    return {
        name: SetFigures(input=sets[name].input, model=sets[name].model, ensemble=_mean(rows))
        for name, rows in results.items()
    }


def evaluate_stage(params: Params, experiment_name: str) -> Path:
    """The stage `evaluate`: writes evaluations/<E>.json and returns its path.

    Raises:
        UserError: if shards or model are missing, damaged, or another experiment's.
    """
    experiment, manifest, network, provenance = _inputs(params, experiment_name)
    sets = evaluate(experiment, manifest, open_store(params.storage.url, params.root), network)
    evaluation = Evaluation(experiment=experiment_name, sets=sets, provenance=provenance)
    return _write(params.root / "evaluations" / f"{experiment_name}.json", evaluation)


def ensemble_stage(params: Params, experiment_name: str) -> Path:
    """The stage `ensemble`: reads evaluations/<E>.json, writes metrics/<E>.json and returns its path.

    Raises:
        UserError: as evaluate_stage, and if the evaluation is missing or was made with other data or weights.
    """
    experiment, manifest, network, provenance = _inputs(params, experiment_name)
    path = params.root / "evaluations" / f"{experiment_name}.json"
    again = f"run `dvc repro evaluate@{experiment_name}`"
    try:
        evaluation = Evaluation.loads(path.read_bytes(), path, again)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {again}.") from None
    measured = evaluation.provenance
    for key in ("protocol", "data_sha256", "weights_sha256"):
        if getattr(measured, key) != getattr(provenance, key):
            raise UserError(f"{path} was measured with another {key} than this experiment has now: {again}.")
    sets = add_ensemble(evaluation.sets, experiment, manifest, open_store(params.storage.url, params.root), network)
    # A change elsewhere in the package runs one stage again and not the other: each keeps the hash of its code.
    sources = measured.model_copy(update={"ensemble_code_sha256": provenance.code_sha256})
    return _write(params.root / "metrics" / f"{experiment_name}.json", Metrics(sets=sets, provenance=sources))


def _inputs(params: Params, name: str) -> tuple[Experiment, EvaluationManifest, nn.Module, Provenance]:
    """What both stages read, checked to belong together."""
    experiment = params.experiment(name)
    manifest = evaluation_manifest(params, name)
    folder = params.root / "models" / name
    network, config = load_model(folder)
    check_fits(config, folder, experiment)
    provenance = Provenance(
        protocol=experiment.task.protocol.name,
        precision=computed(device_of(prepare(network)), experiment.evaluate.precision),
        data_sha256=manifest.sha256,
        weights_sha256=file_sha256(folder / WEIGHTS),
        code_sha256=evaluation_code(experiment.model.name),
        images={name: images.images for name, images in manifest.sets.items()},
    )
    return experiment, manifest, network, provenance


def _score(experiment: Experiment, network: nn.Module, sample: Sample) -> ImageFigures:
    image, seen = degrade(sample, experiment)
    model = prepare(network)
    restored = restore(model, device_of(model), image, sample, experiment)
    return ImageFigures(
        name=sample.name, input=_measure(seen, sample, experiment), model=_measure(restored, sample, experiment)
    )


def _score_ensemble(experiment: Experiment, network: nn.Module, sample: Sample) -> Figures:
    image, _ = degrade(sample, experiment)
    model = prepare(network)
    restored = restore(partial(self_ensemble, model), device_of(model), image, sample, experiment)
    return _measure(restored, sample, experiment)


def _measure(image: NDArray[np.uint8], sample: Sample, experiment: Experiment) -> Figures:
    figures = measure(image, sample.hr, experiment.task, experiment.scale)
    return Figures(psnr=rounded(figures.psnr), ssim=rounded(figures.ssim))


def _over_images(
    score: Callable[[Sample], R], experiment: Experiment, manifest: EvaluationManifest, store: Store
) -> dict[str, list[R]]:
    results = {}
    for name, images in manifest.sets.items():
        samples = read_samples(store, images.shards, experiment.name, experiment.level)
        # disable=None: only where there is a terminal
        bar = partial(tqdm, total=images.images, desc=name, unit="image", leave=False, disable=None)
        results[name] = list(bar(_map(score, measurable(samples, experiment, name))))
    return results


def _map(score: Callable[[Sample], R], samples: Iterable[Sample]) -> Iterable[R]:
    """What is found, in the samples' order; with RAY_ADDRESS set, each image is a task of the cluster."""
    if not os.environ.get("RAY_ADDRESS"):
        return map(score, samples)
    import ray

    from scn.core.ray import start_ray

    start_ray()
    task: Any = ray.remote(num_gpus=1 if ray.cluster_resources().get("GPU") else 0)(_call)
    shared = ray.put(score)  # the network travels to each node once
    return map(ray.get, [task.remote(shared, sample) for sample in samples])


def _call(score: Callable[[Sample], R], sample: Sample) -> R:
    return score(sample)


def _mean(images: Iterable[Figures]) -> Figures:
    found = list(images)
    return Figures(psnr=average(image.psnr for image in found), ssim=average(image.ssim for image in found))


def _write(path: Path, record: Record) -> Path:
    write_atomically(path, record.dumps())
    return path
