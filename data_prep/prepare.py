"""Makes the shards of an experiment from its corpora, and the manifests that name them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.overlap import find_overlaps, label, refusal
from data_prep.packing import pack
from data_prep.shards import ImageMade, ShardJob, ShardMade, ShardSpec, make_shard, without_path
from scn.config.params import Experiment, Params
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.core.parallel import carry_out
from scn.corpora.corpora import Corpus, Source, open_corpus, open_images
from scn.corpora.images import found_pillow
from scn.imaging.formats import longest_side
from scn.shards.manifest import EvaluationManifest, ImageSet, Manifests, TrainingManifest
from scn.shards.samples import codec
from scn.storage.base import Store

_NAMED = 5  # images that an error names beside the first
SMALLEST_TARGET, SMALLEST_INPUT = 16, 8
"""Smallest sides in pixels of a target and of a network's input; a smaller image is an error."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The shards that are to be made of one set of images."""

    corpora: tuple[Corpus, ...]
    """Corpora of the set."""
    jobs: tuple[ShardJob, ...]
    """A job for each shard."""
    refused: dict[str, str]
    """Images that are left out, or whose headers tell that they can't be used: CORPUS/NAME -> why."""


def make_manifests(
    params: Params, name: str, *, images: str | None = None, store_url: str | None = None, workers: int = 1
) -> tuple[Manifests, int]:
    """Makes the shards of the experiment `name`, for training and evaluation, and their manifests.

    If it fails, or is killed, shards that are in the store already stay there, and the next run does not make them
    again.

    Args:
        images: corpus, split of a corpus or folder that replaces data.train.
        store_url: store that replaces storage.url.
        workers: number of shards made, or groups of files hashed, at once; 0: one, in this process, without Ray. If
            RAY_ADDRESS is set, the cluster's size decides.
    Returns:
        The manifests, and the number of shards that were in the store already.
    Raises:
        UserError: if the experiment, a corpus, an image or the store can't be used, or training images show what is
            measured on (unless `data.overlap` is `leave_out`).
    """
    experiment = params.experiment(name)
    _check_sizes(params, experiment)
    store = params.open_store(name, store_url)
    store.check()
    train = _open_distinct(params, name, [images] if images else experiment.data.train, workers)
    evaluation = [open_corpus(params, reference, workers) for reference in experiment.data.evaluation]
    workers = min(workers, sum(len(corpus.images) for corpus in (*train, *evaluation)))

    plans = [plan(experiment, train, store, training=True)]
    plans += [plan(experiment, [corpus], store, training=False) for corpus in evaluation]
    if overlaps := find_overlaps(train, evaluation, store, workers):
        if experiment.data.overlap == "stop":
            raise refusal(overlaps, f"{params.path}: {name}")
        left_out = {pair.train: f"shows the evaluation image {pair.evaluation} ({pair.how})" for pair in overlaps}
        plans[0] = plan(experiment, train, store, training=True, left_out=left_out)
    results = _make([job for plan in plans for job in plan.jobs], store, workers)
    remaining = (results[number] for number in range(len(results)))
    made = [[next(remaining)[0] for _ in plan.jobs] for plan in plans]
    sets = [_image_set(plan, of_set) for plan, of_set in zip(plans, made, strict=True)]
    if not sets[0].shards and overlaps:
        raise refusal(overlaps, f"{params.path}: {name} has no other image to train on", left_out=True)
    if not sets[0].shards:
        raise UserError(f"No training image of {name} can be used: see docs/images.md for what can.")
    about: dict[str, Any] = {
        "experiment": name,
        "task": experiment.task_name,
        "level": experiment.level,
        "made_with": {"pil": found_pillow(), "codec": codec(experiment.data.encoding)},
    }
    parameters = experiment.data.model_dump(exclude={"train", "evaluation"})
    replaced = {"train": [corpus.reference for corpus in train]} if images else {}
    levels = [list(plan.jobs[0].spec.levels) if plan.jobs else [] for plan in plans[:2]]
    manifests = Manifests(
        TrainingManifest(**about, parameters={**parameters, **replaced, "levels": levels[0]}, **dict(sets[0])),
        EvaluationManifest(
            **about,
            parameters={key: parameters[key] for key in ("edges", "encoding")} | replaced | {"levels": levels[1]},
            sets={corpus.reference: made_of for corpus, made_of in zip(evaluation, sets[1:], strict=True)},
        ),
    )
    return manifests, sum(stored for _, stored in results.values())


def _make(jobs: Sequence[ShardJob], store: Store, workers: int) -> dict[int, tuple[ShardMade, bool]]:
    """Makes the shards; number of a job -> its result, as of make_shard."""
    results = dict(carry_out(make_shard, jobs, workers, unit="shard"))
    # `scn gc` may have deleted meanwhile a shard that was there already, as no manifest names it yet.
    # Listed, as a question for each shard is a round trip for each on S3.
    there = {key for task in {job.spec.task_name for job in jobs} for key in store.list(f"shards/{task}/")}
    shards = {number: made.shard for number, (made, _) in sorted(results.items())}
    gone = [number for number, shard in shards.items() if shard and shard.key not in there]
    if gone:
        again = carry_out(make_shard, [jobs[number] for number in gone], workers, unit="shard")
        results |= {gone[place]: result for place, result in again}
    return results


def plan(
    experiment: Experiment,
    corpora: Sequence[Corpus],
    store: Store,
    *,
    training: bool,
    left_out: Mapping[str, str] | None = None,
) -> Plan:
    """Plans the shards of one set of images from their headers, and finds images that can't be used.

    Args:
        training: True for the training set, False for an evaluation set.
        left_out: images that are not to be used: CORPUS/NAME -> why.
    Raises:
        UserError: for an image that can't be used (unless `data.unusable` is `skip`), or too few training images for
            `data.min_shards` shards.
    """
    own = (experiment.level,) if experiment.task.stored else ()
    shared = experiment.data.levels if own and training else ()
    spec = ShardSpec(
        task_name=experiment.task_name,
        levels=tuple(sorted({*own, *shared})),
        training=training,
        data=experiment.data,
    )
    refused, used, unusable = dict(left_out or {}), list[tuple[int, Source]](), dict[str, str]()
    for index, (name, source) in enumerate(_labelled(corpora)):
        if name in refused:
            continue
        sentence = source.refusal or _misfit(source, experiment, spec)
        if sentence is None:
            used.append((index, source))
        elif training and experiment.data.unusable == "skip":
            refused[name] = without_path(UserError(sentence), source)
        else:
            unusable[name] = sentence
    if unusable:
        first, *more = unusable
        listed = f"{', '.join(more[:_NAMED])}{', ...' if len(more) > _NAMED else ''}"
        raise UserError(unusable[first] + (f" {len(more)} more can't be used: {listed}." if more else ""))

    def weights(number: int) -> list[int]:
        source = used[number][1]
        return [
            (bottom - top) * (right - left) * experiment.task.image_channels
            for top, bottom, left, right in spec.places(source.height, source.width)
        ]

    least = experiment.data.min_shards if training else 1
    shards = pack(
        [sum(weights(number)) for number in range(len(used))],
        weights,
        target=experiment.data.shard_mib * 2**20,
        least=least,
        in_order=not training,
    )
    if used and len(shards) < least:
        raise UserError(
            f"{experiment.name} has {len(shards)} training images (or sub-images), but data.min_shards asks for "
            f"{least} shards: lower it or add images."
        )
    jobs = [
        ShardJob(
            spec=spec,
            number=number,
            pieces=tuple(replace(piece, image=used[piece.image][0]) for piece in pieces),
            sources=tuple(used[piece.image][1] for piece in pieces),
            store=store,
        )
        for number, pieces in enumerate(shards)
    ]
    return Plan(corpora=tuple(corpora), jobs=tuple(jobs), refused=refused)


def _misfit(source: Source, experiment: Experiment, spec: ShardSpec) -> str | None:
    """The sentence with which an image is refused for its size."""
    size = f"{source.path} is {source.width}x{source.height} pixels"
    longest = longest_side(spec.task)
    if longest and max(source.height, source.width) > longest:
        return f"{size}, and a JPEG's sides have {longest} at most: cut it up or take it out of the corpus."
    scale = max(map(spec.task.scale, spec.levels), default=1)
    needed = max(SMALLEST_TARGET, SMALLEST_INPUT * scale), experiment.train.patch_size * scale
    # What is cropped to multiples has to be as large afterwards.
    smallest, patch = (-(-side // spec.multiple) * spec.multiple for side in needed)
    side = min(source.height, source.width)
    if side < smallest:
        return f"{size}, too small for {experiment.name}, which needs {smallest}x{smallest}: take it out of the corpus."
    if spec.training and side < patch:
        return (
            f"{size}, smaller than the {patch}x{patch} that a patch takes: take it out of the training corpus or lower "
            "train.patch_size."
        )
    return None


def _check_sizes(params: Params, experiment: Experiment) -> None:
    """Raises UserError if sub-images would not begin and end with pixels of the degraded image."""
    data, task = experiment.data, experiment.task
    low, high = task.level_range
    for level in data.levels:
        if not low <= level <= high:
            raise UserError(
                f"{params.path}: data.levels of {experiment.name}: the {task.level_name} of {task.title} lies in "
                f"{low}..{high}, not {level}."
            )
    for level in {experiment.level, *data.levels} if task.stored else ():
        for key in ("sub_image", "stride"):
            if getattr(data, key) % task.scale(level):
                raise UserError(
                    f"{params.path}: data.{key} of {experiment.name}: {getattr(data, key)} is no multiple of the scale "
                    f"{task.scale(level)}: choose one that is."
                )
    patch = experiment.train.patch_size * experiment.scale
    if 0 < data.sub_image < patch:
        raise UserError(
            f"{params.path}: data.sub_image of {experiment.name}: {data.sub_image} is smaller than a patch of {patch} "
            "pixels (train.patch_size times the scale): choose a larger one, or 0 for whole images."
        )


def _open_distinct(params: Params, name: str, references: Sequence[str], workers: int) -> list[Corpus]:
    for reference in references:
        if references.count(reference) > 1:
            raise UserError(f"{params.path}: data.train of {name} names {reference} twice: remove one.")
    corpora = [open_images(params, reference, workers) for reference in references]
    if len(corpora) == 1:  # to resolve a million paths takes minutes
        return corpora
    seen: dict[Path, str] = {}
    for corpus in corpora:
        for image in corpus.images:
            if (other := seen.setdefault(image.path.resolve(), corpus.reference)) != corpus.reference:
                raise UserError(
                    f"{params.path}: data.train of {name} has the image {image.path} twice, in {other} and in "
                    f"{corpus.reference}: remove one."
                )
    return corpora


def _labelled(corpora: Sequence[Corpus]) -> Iterator[tuple[str, Source]]:
    """The images of a set in order, each with a name that is unique in the set."""
    for corpus in corpora:
        yield from ((label(corpus, source), source) for source in corpus.images)


def _image_set(plan: Plan, made: Sequence[ShardMade]) -> ImageSet:
    images: dict[int, ImageMade] = {image.index: image for of_shard in made for image in of_shard.images}
    labels = [name for name, _ in _labelled(plan.corpora)]
    used = [images[index] for index in sorted(images) if not images[index].refused]
    return ImageSet(
        corpora={corpus.reference: corpus.sha256 for corpus in plan.corpora},
        images=len(used),
        samples=sum(of_shard.shard.samples for of_shard in made if of_shard.shard),
        content=digest([[image.name, image.content] for image in used]),
        converted=dict(Counter(kind for image in used for kind in image.converted)),
        refused=plan.refused | {labels[image.index]: image.refused for image in images.values() if image.refused},
        shards=[of_shard.shard for of_shard in made if of_shard.shard],
    )
