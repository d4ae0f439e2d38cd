"""The stages evaluate and ensemble: restore and measure an experiment's evaluation sets, and write the figures."""

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from torch import nn
from tqdm import tqdm

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import file_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import measurable, restorer
from scn.evaluation.kept import Kept
from scn.evaluation.measuring import INPUT, Measured, Method, means, measure_samples
from scn.evaluation.protocols import protocols_of
from scn.evaluation.results import Evaluation, ImageResult, SetResult, picture_file, result_file
from scn.imaging.image_io import write_pixels
from scn.inference.apply import device_of, prepare
from scn.inference.model_files import WEIGHTS, check_fits, load_model
from scn.inference.precision import computed
from scn.inference.records import Provenance
from scn.shards.manifest import EvaluationManifest, evaluation_manifest
from scn.shards.pipeline import read_samples
from scn.storage import open_store
from scn.storage.base import Store


def evaluate_stage(params: Params, experiment_name: str) -> Path:
    """The stage `evaluate`: measures the degraded input and the model, keeps pictures, and writes model.json.

    Returns:
        the path of evaluations/<E>/model.json.
    Raises:
        UserError: if shards or model are missing, damaged, or another experiment's.
    """
    experiment, manifest, network, provenance = _inputs(params, experiment_name)
    folder = result_file(params.root, experiment_name, "model").parent
    shutil.rmtree(folder / "pictures", ignore_errors=True)  # of an earlier model
    sets = {}
    methods = {INPUT: None, "model": restorer(experiment, network)}
    for name, measured in measured_sets(experiment, manifest, open_store(params.storage.url, params.root), methods):
        kept = Kept(protocols_of(experiment.task)[0].name)
        images = [kept.add(image) for image in measured]
        sets[name] = SetResult(mean=means(images), images=images, most=kept.most, least=kept.least)
        for image in kept.pictures:
            for picture in ("truth", "input", "model"):
                path = picture_file(params.root, experiment_name, name, image.result.name, picture)
                write_pixels(path, image.pictures[picture])
    return _write(params, experiment, "model", sets, provenance)


def ensemble_stage(params: Params, experiment_name: str) -> Path:
    """The stage `ensemble`: adds the model with self-ensemble to the figures of the stage `evaluate`.

    It reads evaluations/<E>/model.json and writes ensemble.json beside it, and pictures of the images that have some.

    Returns:
        the path of evaluations/<E>/ensemble.json.
    Raises:
        UserError: as evaluate_stage, and if the evaluation is missing or was made with other data or weights.
    """
    experiment, manifest, network, provenance = _inputs(params, experiment_name)
    path = result_file(params.root, experiment_name, "model")
    again = f"run `dvc repro evaluate@{experiment_name}`"
    try:
        evaluation = Evaluation.loads(path.read_bytes(), path, again)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {again}.") from None
    before = evaluation.provenance
    for key in ("protocol", "data_sha256", "weights_sha256"):
        if getattr(before, key) != getattr(provenance, key):
            raise UserError(f"{path} was measured with another {key} than this experiment has now: {again}.")
    shutil.rmtree(path.parent / "ensemble", ignore_errors=True)
    sets = {}
    methods = {"ensemble": restorer(experiment, network, ensemble=True)}
    for name, measured in measured_sets(experiment, manifest, open_store(params.storage.url, params.root), methods):
        earlier = evaluation.sets[name]
        images = []
        for row, image in zip(earlier.images, measured, strict=True):
            images.append(_joined(row, image.result))
            if row.name in (*earlier.most, *earlier.least):
                target = picture_file(params.root, experiment_name, name, row.name, "ensemble")
                write_pixels(target, image.pictures["ensemble"])
        sets[name] = SetResult(mean=means(images), images=images, most=earlier.most, least=earlier.least)
    # A change elsewhere in the package runs one stage again and not the other: each keeps the hash of its code.
    sources = before.model_copy(update={"ensemble_code_sha256": provenance.code_sha256})
    return _write(params, experiment, "ensemble", sets, sources)


def measured_sets(
    experiment: Experiment, manifest: EvaluationManifest, store: Store, methods: Mapping[str, Method | None]
) -> Iterator[tuple[str, Iterator[Measured]]]:
    """Yields every evaluation set's name, and what scn.evaluation.measuring finds of its images, in their order.

    Raises:
        UserError: if a shard is damaged, or an image is too small for the protocol.
    """
    for name, images in manifest.sets.items():
        samples = read_samples(store, images.shards, experiment.name, experiment.level)
        # disable=None: only where there is a terminal
        bar = partial(tqdm, total=images.images, desc=name, unit="image", leave=False, disable=None)
        yield name, iter(bar(measure_samples(measurable(samples, experiment, name), experiment, methods)))


def _inputs(params: Params, name: str) -> tuple[Experiment, EvaluationManifest, nn.Module, Provenance]:
    """What both stages read, checked to belong together."""
    experiment = params.experiment(name)
    manifest = evaluation_manifest(params, name)
    folder = params.root / "models" / name
    network, config = load_model(folder)
    check_fits(config, folder, experiment)
    provenance = Provenance(
        protocol=protocols_of(experiment.task)[0].name,
        precision=computed(device_of(prepare(network)), experiment.evaluate.precision),
        data_sha256=manifest.sha256,
        weights_sha256=file_sha256(folder / WEIGHTS),
        code_sha256=evaluation_code(experiment.model.name),
        images={name: images.images for name, images in manifest.sets.items()},
    )
    return experiment, manifest, network, provenance


def _joined(first: ImageResult, second: ImageResult) -> ImageResult:
    """The figures of both, of one image, under the protocols that both have."""
    figures = {rule: {**first.figures[rule], **found} for rule, found in second.figures.items()}
    return first.model_copy(update={"figures": figures})


def _write(
    params: Params, experiment: Experiment, stage: str, sets: Mapping[str, SetResult], provenance: Provenance
) -> Path:
    evaluation = Evaluation(
        experiment=experiment.name,
        task=experiment.task_name,
        level=experiment.level,
        sets=sets,
        provenance=provenance,
    )
    path = result_file(params.root, experiment.name, "model" if stage == "model" else "ensemble")
    write_atomically(path, evaluation.dumps())
    return path
