"""Measures any model, or none, on any images: `scn evaluate --images SET --method METHOD`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny
from tqdm import tqdm

from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.corpora.corpora import Corpus, content_sha256
from scn.evaluation.code import evaluation_code
from scn.evaluation.images import Restorer
from scn.evaluation.measuring import Distance, Method, computation_of, means
from scn.evaluation.perceptual import perceptual, perceptual_sha256, smallest_side
from scn.evaluation.photographs import Photographs, Targets, before_crop, open_photographs
from scn.evaluation.protocols import protocols_of
from scn.evaluation.results import ImageResult
from scn.evaluation.saving import check_save, saved_as
from scn.evaluation.sets import measure_samples
from scn.imaging.image_io import write_pixels
from scn.imaging.tiles import STEP
from scn.inference.apply import device_of, prepare
from scn.inference.handle import Model
from scn.inference.model_config import WEIGHTS, inherited_corpora
from scn.inference.precision import Computation
from scn.inference.records import Figures, Record
from scn.networks.build import build, fold

INPUT, BICUBIC = "input", "bicubic"
"""Methods without a network: the degraded image as a viewer sees it, and bicubic enlargement."""
_ONLY = "method"  # each image is restored by one method here


class ImageFigures(Figures):
    """The figures of one image."""

    name: str
    """The image's name in its set."""
    height: int
    """Height of the original in pixels."""
    width: int
    """Width of the original in pixels."""


class UnderProtocol(Record):
    """Figures under one protocol."""

    protocol: str
    mean: Figures
    """Means over the images."""
    images: list[SerializeAsAny[ImageFigures]]


class Hashes(Record):
    """Everything that decides the figures of a measurement, besides experiment and method, by its SHA-256."""

    data_sha256: str
    """The images: their names and files."""
    inputs_sha256: str | None = None
    """The degraded images, where --inputs gave them."""
    weights_sha256: str | None = None
    """The model's weights; None without a model."""
    code_sha256: str
    """The sources that decide the figures."""
    perceptual_sha256: str | None = None
    """Code, packages and weights behind LPIPS and DISTS, where they were measured."""


class Measurement(UnderProtocol):
    """One method, measured on one set, under the task's first protocol; `further` has the others."""

    experiment: str
    task: str
    level: int
    set: str
    """The images, as they were asked for."""
    method: str
    """`input`, `bicubic` or the reference of a model."""
    self_ensemble: bool
    scales: int | None = None
    """Number of scales of the pyramid, where it is another than in training."""
    ratio: float | None = None
    """Ratio of the scales of the pyramid, where it is another than in training."""
    tile: int | None = None
    precision: str | None = None
    """Precision that the network computed in; None without a model."""
    device: str | None = None
    """Kind of the device that computed, of several "; " between them; None without a model."""
    edges: str | None = None
    """How images were reduced beyond their edges (data.edges); None where nothing was reduced here."""
    further: list[UnderProtocol] = Field(default=[])
    notes: list[str] = Field(default=[])
    """Sentences on what is not as usual."""
    provenance: Hashes

    @property
    def title(self) -> str:
        """The method in a few words, for tables."""
        parts = [self.method] + ["self-ensemble"] * self.self_ensemble
        parts += [f"{self.scales} scales"] if self.scales else []
        parts += [f"ratio {self.ratio:g}"] if self.ratio else []
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How methods are applied."""

    self_ensemble: bool = False
    tile: int | None = None
    """Images of more than tile x tile pixels are restored in parts; None: as a whole."""
    scales: Sequence[int] = ()
    """Numbers of scales of the pyramid to measure; empty: that of the training."""
    ratios: Sequence[float] = ()
    """Ratios of the scales of the pyramid to measure; empty: that of the training."""
    perceptual: bool = False
    """True: LPIPS and DISTS are measured, too."""
    save: Path | None = None
    """Folder for the restored images."""

    @property
    def of_networks(self) -> str:
        """The first option that is given and needs a network; "" for none."""
        given = {"self-ensemble": self.self_ensemble, "tile": self.tile, "scales": self.scales, "ratio": self.ratios}
        return next((name for name, value in given.items() if value), "")

    def check(self) -> None:
        """Raises UserError for a tile that is too small."""
        if self.tile is not None and self.tile <= 2 * STEP:
            raise UserError(f"--tile: {self.tile} is too small: give more than {2 * STEP} pixels.")


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A method, ready to be measured."""

    method: Method | None
    network: str | None = None
    """Name of the network in the table of networks."""
    about: dict[str, Any] = field(default_factory=dict)
    """Fields of Measurement that it decides."""
    weights_sha256: str | None = None
    trained_on: Mapping[str, str] = field(default_factory=dict)
    """Corpora that the model was trained on -> SHA-256 of their images, as far as that is known."""


def compare(
    params: Params,
    *,
    experiments: Sequence[str],
    sets: Sequence[str],
    methods: Sequence[str],
    load: Callable[[str], Model],
    inputs: str | None = None,
    options: Options | None = None,
) -> Iterator[Measurement]:
    """Measures every method on every set for every experiment; each model is loaded once.

    Args:
        experiments: names in params.yaml; they give task, level and precision.
        sets: corpora or folders of images; empty: the evaluation sets of each experiment.
        methods: `input`, `bicubic`, or references that `load` takes.
        load: loads a model (scn.registry.reference.load).
        inputs: folder or corpus with the degraded versions of the images, which then are not degraded here.
    Yields:
        a measurement for each that fits: where several are asked for, a model of another task or scale, or `bicubic`
        without super-resolution, is passed over.
    Raises:
        UserError: if images, a model or an option can't be used; if nothing fits.
    """
    options = options or Options()
    options.check()
    asked = [params.experiment(name) for name in dict.fromkeys(experiments)]
    methods = list(dict.fromkeys(methods))
    sets_of = {each.name: list(dict.fromkeys(sets or each.data.evaluation)) for each in asked}
    opened = {
        (each.name, of_set): open_photographs(params, each, of_set, inputs)
        for each in asked
        for of_set in sets_of[each.name]
    }
    if set(methods) <= {INPUT, BICUBIC} and (given := options.of_networks):
        raise UserError(f"--{given}: {methods[0]} has no network: leave the option out, or name a model by --method.")
    if options.perceptual and not any(rule.perceptual for each in asked for rule in protocols_of(each.task)):
        names = ", ".join(each.name for each in asked)
        raise UserError(f"--perceptual: no protocol of {names} has LPIPS and DISTS: leave the option out.")
    distances = perceptual() if options.perceptual else {}
    # All of it before anything is measured: hours of figures would be lost by a misspelt name at the end.
    ready = list(_ready(asked, methods, load, options))
    if not ready:
        raise UserError(f"None of {', '.join(methods)} is for {', '.join(experiments)}: name a model of its task.")
    if options.save is not None:
        check_save(params, options.save, opened.values())
    several = len(asked) * len(methods) * max(map(len, sets_of.values())) > 1
    for experiment, each in ready:
        for of_set in sets_of[experiment.name]:
            yield _measured(opened[experiment.name, of_set], of_set, each, options, distances, several)


def _ready(
    experiments: Sequence[Experiment], methods: Sequence[str], load: Callable[[str], Model], options: Options
) -> Iterator[tuple[Experiment, _Ready]]:
    """Every method that fits, with each experiment that it fits, and as often as the options ask for variants."""
    for method in methods:
        model = None if method in (INPUT, BICUBIC) else load(method)
        for experiment in experiments:
            misfit = _misfit(method, model, experiment)
            if misfit and len(experiments) * len(methods) == 1:
                raise UserError(misfit)
            if not misfit:
                yield from ((experiment, each) for each in _variants(method, model, experiment, options))


def _misfit(method: str, model: Model | None, experiment: Experiment) -> str:
    """Why a method can't be measured for an experiment, as a sentence; "" if it can."""
    if method == BICUBIC and experiment.scale == 1:
        return f"--method: bicubic enlarges, which {experiment.name} does not: measure {INPUT} or a model."
    if model and (model.task.name, model.scale) != (experiment.task_name, experiment.scale):
        what = f"{model.task.title} x{model.scale}" if model.scale > 1 else model.task.title
        return f"--method: {method} is for {what}, not for {experiment.name}: name a model of its task and scale."
    return ""


def _variants(method: str, model: Model | None, experiment: Experiment, options: Options) -> Iterator[_Ready]:
    """The method, as often as the options ask for other scales or ratios."""
    if model is None:
        yield _Ready(method=None, about={"method": method, "self_ensemble": False})
        return
    architecture = model.config["architecture"]
    sweep: Iterator[tuple[int | None, float | None]] = product(options.scales or (None,), options.ratios or (None,))
    for scales, ratio in sweep:
        about: dict[str, Any] = {"method": method, "self_ensemble": options.self_ensemble, "tile": options.tile}
        network = model.network
        changed = {key: value for key, value in (("scales", scales), ("ratio", ratio)) if value is not None}
        if changed:
            network = _with(model, changed, method)
            about |= changed
        restorer = Restorer(
            network=network,
            channels=model.channels,
            scale=model.scale,
            precision=experiment.evaluate.precision,
            ensemble=options.self_ensemble,
            tile=options.tile,
            device=device_of(model.network),
        )
        about["notes"] = list(_unlike_training(method, model, experiment))
        sha256 = file_sha256(model.folder / WEIGHTS)
        yield _Ready(
            method=restorer,
            network=architecture["name"],
            about=about,
            weights_sha256=sha256,
            trained_on={**inherited_corpora(model.config)[0], **(model.config.get("training_corpora") or {})},
        )


def _unlike_training(method: str, model: Model, experiment: Experiment) -> Iterator[str]:
    """A sentence for all in which images of the experiment are another kind than those that the model learnt from."""
    if model.level not in (None, experiment.level):
        yield f"{method} was trained for {experiment.task.level_name} {model.level}, not {experiment.level}."
    trained, measured = model.config.get("edges"), experiment.data.edges
    if experiment.scale > 1 and trained not in (None, measured):
        yield f"{method} was trained on images reduced with data.edges {trained}, and {experiment.name} has {measured}."


def _with(model: Model, changed: dict[str, Any], method: str) -> Any:
    """The model's weights in a network of other scales; raises UserError if they don't fit there."""
    architecture = model.config["architecture"]
    if unknown := [key for key in changed if key not in architecture]:
        raise UserError(f"--{unknown[0]}: {method} has no pyramid of scales: leave the option out.")
    network = fold(build({**architecture, **changed}))
    try:
        network.load_state_dict(model.network.state_dict())
    except RuntimeError:
        raise UserError(
            f"{method} has weights of its own for each scale, so that it can't have others than in training: leave "
            "--scales and --ratio out, or name a model that shares its weights."
        ) from None
    return prepare(network, device_of(model.network)).requires_grad_(False)


def _measured(
    photographs: Photographs,
    of_set: str,
    ready: _Ready,
    options: Options,
    distances: Mapping[str, Distance],
    several: bool,
) -> Measurement:
    """One measurement; the images are restored once for each kind of target that the protocols have."""
    experiment, found = photographs.experiment, dict[str, list[ImageResult]]()
    computations = set[Computation]()
    targets = photographs.targets
    distances, too_small = _distances(photographs, distances)
    for target in targets:
        saved = range(len(photographs)) if options.save else ()
        samples, methods = Targets(photographs, target), {_ONLY: ready.method}
        measured = measure_samples(samples, experiment, methods, distances, pictures=saved)
        # disable=None: only where there is a terminal
        bar = partial(tqdm, total=len(photographs), desc=of_set, unit="image", leave=False, disable=None)
        rows = found[target] = []
        for image in bar(measured):
            rows.append(image.result)
            computations |= image.computations
            if options.save:
                parts = [experiment.name, of_set, ready.about["method"]] if several else []
                parts += [f"{key}-{ready.about[key]}" for key in ("scales", "ratio") if key in ready.about]
                parts += [target] if len(targets) > 1 else []
                write_pixels(saved_as(options.save, parts, image.result.name), image.pictures[_ONLY])
    under = [
        UnderProtocol(
            protocol=rule.name,
            mean=mean[rule.name][_ONLY],
            images=[
                ImageFigures(
                    name=row.name, height=row.height, width=row.width, **row.figures[rule.name][_ONLY].model_dump()
                )
                for row in found[rule.target]
            ],
        )
        for rule in protocols_of(experiment.task)
        if rule.target in found and rule.name in (mean := means(found[rule.target]))
    ]
    told = {each.protocol for each in under}
    left_out = [photographs.left_out(rule) for rule in protocols_of(experiment.task) if rule.name not in told]
    left_out += [sentence for rule, sentence in too_small if rule in told]
    notes = [*photographs.notes(), *left_out, *ready.about.get("notes", [])]
    notes += _seen_in_training(photographs, of_set, ready)
    about = {**ready.about, "notes": notes}
    if computation := computation_of(computations):
        about |= computation._asdict()
    return Measurement(
        **dict(under[0]),
        experiment=experiment.name,
        task=experiment.task_name,
        level=experiment.level,
        edges=experiment.data.edges if experiment.scale > 1 and photographs.inputs is None else None,
        set=of_set,
        further=under[1:],
        provenance=Hashes(
            data_sha256=photographs.corpus.sha256,
            inputs_sha256=photographs.inputs_sha256,
            weights_sha256=ready.weights_sha256,
            code_sha256=evaluation_code(ready.network, of_files=True),
            perceptual_sha256=perceptual_sha256(
                name for name in distances if any(getattr(each.mean, name) is not None for each in under)
            ),
        ),
        **about,
    )


def _distances(
    photographs: Photographs, distances: Mapping[str, Distance]
) -> tuple[Mapping[str, Distance], list[tuple[str, str]]]:
    """The distances that all images are large enough for; of each other one its protocol and a sentence."""
    fit, too_small, scale = dict(distances), list[tuple[str, str]](), photographs.experiment.scale
    for rule in protocols_of(photographs.experiment.task):
        for name in distances if rule.perceptual else ():
            side = before_crop(smallest_side(name) + 2 * rule.frame(scale), scale)
            if photographs.smallest_side < side:
                del fit[name]
                needs = f"{name} needs {side}x{side} pixels or more of all images under {rule.name}"
                too_small.append((rule.name, f"{needs}, and is left out."))
    return fit, too_small


def _seen_in_training(photographs: Photographs, of_set: str, ready: _Ready) -> list[str]:
    """A sentence if the model was trained on the set, on a part of it, or on a corpus that it is a part of."""
    for name, sha256 in ready.trained_on.items():
        nested = f"{of_set}/".startswith(f"{name}/") or f"{name}/".startswith(f"{of_set}/")
        if nested or sha256 in (photographs.corpus.sha256, _as_split(photographs.corpus, name)):
            method = ready.about["method"]
            return [f"{method} was trained on {name}: its figures on these images say nothing about others."]
    return []


def _as_split(corpus: Corpus, reference: str) -> str:
    """SHA-256 that a corpus would have as `reference`: of NAME/SPLIT, SPLIT/ begins every name; of a folder not."""
    own, theirs = (f"{split}/" if split else "" for split in (_split(corpus.reference), _split(reference)))
    return content_sha256(replace(image, name=theirs + image.name.removeprefix(own)) for image in corpus.images)


def _split(reference: str) -> str:
    return reference.partition("/")[2]
