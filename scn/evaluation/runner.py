"""The stages evaluate and ensemble: restore and measure an experiment's evaluation sets, and write the figures."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import file_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import restorer
from scn.evaluation.kept import Kept
from scn.evaluation.measuring import INPUT, Measured, Method, computation_of, means
from scn.evaluation.protocols import protocols_of
from scn.evaluation.results import Evaluation, ImageResult, SetResult, picture_file, result_file
from scn.evaluation.sets import StoredSets, measure_samples, measured_sets
from scn.imaging.image_io import write_pixels
from scn.inference.model_config import WEIGHTS, check_fits
from scn.inference.model_files import load_model
from scn.inference.precision import Computation
from scn.inference.records import Provenance
from scn.shards.manifest import EvaluationManifest, evaluation_manifest


def evaluate_stage(params: Params, experiment_name: str) -> Path:
    """The stage `evaluate`: measures the degraded input and the model, keeps pictures, and writes model.json.

    Returns:
        the path of evaluations/<E>/model.json.
    Raises:
        UserError: if shards or model are missing, damaged, or another experiment's.
    """
    experiment, manifest, network, provenance = _inputs(params, experiment_name)
    store = params.open_store(experiment_name)
    shutil.rmtree(
        result_file(params.root, experiment_name, "model").parent / "pictures", ignore_errors=True
    )  # of an earlier model

    def write(set_name: str, image: Measured) -> None:
        for picture in ("truth", "input", "model"):
            path = picture_file(params.root, experiment_name, set_name, image.result.name, picture)
            write_pixels(path, image.pictures[picture])

    sets, computations = dict[str, SetResult](), set[Computation]()
    lacking: dict[int, str] = {}  # number of an image whose pictures a cluster kept to itself -> its set
    methods: dict[str, Method | None] = {INPUT: None, "model": restorer(experiment, network)}
    first = 0
    for name, measured in measured_sets(experiment, manifest, store, methods):
        kept = Kept(protocols_of(experiment.task)[0].name)
        images = []
        for image in measured:
            images.append(kept.add(image))
            computations |= image.computations
        sets[name] = SetResult(mean=means(images), images=images, most=kept.most, least=kept.least)
        for image in kept.pictures:
            if image.pictures:
                write(name, image)
            else:
                lacking[first + images.index(image.result)] = name
        first += len(images)
    if lacking:  # measured again: to know which images these are takes the figures of all
        samples, numbers = StoredSets(experiment, manifest, store), sorted(lacking)
        again = measure_samples(samples, experiment, methods, numbers=numbers, pictures=numbers)
        for number, image in zip(numbers, again, strict=True):
            write(lacking[number], image)
    return _write(params, experiment, "model", sets, _computed(provenance, computations))


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
    sets, computations = {}, set[Computation]()
    methods = {"ensemble": restorer(experiment, network, ensemble=True)}
    rows = [(of_set, row.name) for of_set in evaluation.sets.values() for row in of_set.images]
    kept = {i for i, (of_set, name) in enumerate(rows) if name in (*of_set.most, *of_set.least)}
    store = params.open_store(experiment_name)
    for name, measured in measured_sets(experiment, manifest, store, methods, pictures=kept):
        earlier = evaluation.sets[name]
        images = []
        for row, image in zip(earlier.images, measured, strict=True):
            images.append(_joined(row, image.result))
            computations |= image.computations
            if row.name in (*earlier.most, *earlier.least):
                target = picture_file(params.root, experiment_name, name, row.name, "ensemble")
                write_pixels(target, image.pictures["ensemble"])
        sets[name] = SetResult(mean=means(images), images=images, most=earlier.most, least=earlier.least)
    # A change elsewhere in the package runs one stage again and not the other: each keeps the hash of its code.
    sources = before.model_copy(update={"ensemble_code_sha256": provenance.code_sha256})
    computed = _computed(sources, computations)
    if before.precision not in (None, computed.precision):
        raise UserError(f"{path} was computed in {before.precision}, self-ensemble in {computed.precision}: {again}.")
    if before.device not in (None, computed.device):
        computed = computed.model_copy(update={"device": f"{before.device}; {computed.device}"})
    return _write(params, experiment, "ensemble", sets, computed)


def _inputs(params: Params, name: str) -> tuple[Experiment, EvaluationManifest, nn.Module, Provenance]:
    """What both stages read, checked to belong together."""
    experiment = params.experiment(name)
    manifest = evaluation_manifest(params, name)
    folder = params.root / "models" / name
    network, config = load_model(folder)
    check_fits(config, folder, experiment)
    provenance = Provenance(
        protocol=protocols_of(experiment.task)[0].name,
        data_sha256=manifest.sha256,
        weights_sha256=file_sha256(folder / WEIGHTS),
        code_sha256=evaluation_code(experiment.model.name),
        images={name: images.images for name, images in manifest.sets.items()},
        sets_sha256={name: images.content for name, images in manifest.sets.items()},
    )
    return experiment, manifest, network, provenance


def _computed(provenance: Provenance, computations: set[Computation]) -> Provenance:
    """The provenance of figures, with the precision and the device that they were computed in."""
    computation = computation_of(computations)
    return provenance.model_copy(update=computation._asdict() if computation else {})


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
