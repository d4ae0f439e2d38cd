"""Corpora -> degraded pairs -> WebDataset shards in the store, and the manifest of what was made.

A shard is a function of its images and of the experiment's task and level alone: members in sorted order, fixed tar
headers, arrays as .npy (PNG would cost more than degrading, and zlib's output differs from machine to machine).
So the same input gives the same bytes whatever the number of workers, and a shard that is in the store already, whose
key holds its SHA-256, is not written again.
"""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.corpora import Corpus, Source, check_disjoint, open_corpus, open_images
from data_prep.images import decode
from scn.cluster import start_ray
from scn.config import Experiment, Params
from scn.degradation import bicubic_upscale, degrade, modcrop, to_channels
from scn.errors import UserError
from scn.manifest import ImageSet, Manifest, Shard
from scn.storage import ObjectExists, Store, open_store

SMALLEST_TARGET, SMALLEST_INPUT = 16, 8
"""Sides in pixels below which an image is an error: there is nothing to learn from, or measure on, it."""


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything that makes one shard; goes to a worker."""

    experiment: Experiment
    sources: tuple[Source, ...]
    number: int
    """Of the shard in its set."""
    training: bool
    """Of the training set; otherwise of an evaluation set."""
    store: Store


@dataclass(frozen=True, kw_only=True)
class ShardMade:
    """What came of a job."""

    shard: Shard
    converted: dict[str, int]
    """How many images went through which conversion."""
    pixels: dict[str, str]
    """SHA-256 of an image's pixels, whatever file format they came in -> the image's name."""


def make_manifest(
    params: Params, name: str, *, images: str | None = None, store_url: str | None = None, workers: int = 1
) -> Manifest:
    """Makes the shards of the experiment `name`, for training and evaluation, and says what was made.

    If it fails, shards that were put already stay in the store; they do no harm, being named by their content.

    Args:
        images: a corpus, a split of one, or a folder, instead of data.train.
        store_url: instead of storage.url.
        workers: how many shards are made at once; 0 makes them in this process, without Ray. With RAY_ADDRESS set,
            the cluster has its own number.
    Raises:
        UserError: if the experiment, a corpus, an image or the store isn't as it must be.
    """
    experiment = params.experiment(name)
    store = open_store(store_url or params.storage.url, params.root)
    store.check()
    train = _open_distinct(params, name, [images] if images else experiment.data.train)
    evaluation = [open_corpus(params, reference) for reference in experiment.data.evaluation]
    check_disjoint(train, evaluation)

    sets = [train, *([corpus] for corpus in evaluation)]
    jobs = [
        [
            ShardJob(
                experiment=experiment,
                sources=sources,
                number=number,
                training=i == 0,
                store=store,
            )
            for number, sources in enumerate(_split(corpora, experiment.data.images_per_shard))
        ]
        for i, corpora in enumerate(sets)
    ]
    results = iter(_run([job for of_set in jobs for job in of_set], workers))
    made = [[next(results) for _ in of_set] for of_set in jobs]
    _check_pixels(made[0], [shard for of_set in made[1:] for shard in of_set])
    image_sets = [_image_set(corpora, of_set) for corpora, of_set in zip(sets, made, strict=True)]
    return Manifest(
        experiment=name,
        task=experiment.task_name,
        level=experiment.level,
        train=image_sets[0],
        evaluation={corpus.reference: made_of for corpus, made_of in zip(evaluation, image_sets[1:], strict=True)},
    )


def make_shard(job: ShardJob) -> ShardMade:
    """Decodes, degrades and stores the images of one shard.

    Raises:
        UserError: naming the first image that can't be used, or the store that can't be written to.
    """
    converted: Counter[str] = Counter()
    digests: dict[str, str] = {}
    file = io.BytesIO()
    # USTAR headers hold nothing but what is set here: no times, users or process ids.
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        first = job.number * job.experiment.data.images_per_shard
        for key, source in enumerate(job.sources, first):
            pixels, conversions = decode(source.read(), source.path)
            converted.update(conversions)
            digests[hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()] = source.name
            members = _sample(source, pixels, job)
            for part, content in sorted(members.items()):
                header = tarfile.TarInfo(f"{key:06d}.{part}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    content = file.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    shard = Shard(
        key=f"shards/{job.experiment.name}/{sha256[:32]}/{job.number:06d}.tar",
        bytes=len(content),
        sha256=sha256,
        samples=len(job.sources),
    )
    try:
        job.store.put(shard.key, content)
    except ObjectExists:  # the key names this content: what lies there was damaged
        job.store.delete(shard.key)
        job.store.put(shard.key, content)
    return ShardMade(shard=shard, converted=dict(converted), pixels=digests)


def _sample(source: Source, pixels: NDArray[np.uint8], job: ShardJob) -> dict[str, bytes]:
    """The members of one sample (see scn.manifest)."""
    experiment, scale = job.experiment, job.experiment.scale
    enlarged = scale > 1 and not job.training
    target = modcrop(pixels, scale)
    if not enlarged:  # to be measured, a grey photograph stays grey, as in the papers' bicubic rows
        target = to_channels(target, experiment.task.channels)
    smallest = max(SMALLEST_TARGET, SMALLEST_INPUT * scale)
    if min(target.shape[:2]) < smallest:
        raise UserError(
            f"{source.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, too small for {experiment.name}, which "
            f"needs {smallest}x{smallest}: take it out of the corpus."
        )
    patch = experiment.train.patch * scale
    if job.training and min(target.shape[:2]) < patch:
        raise UserError(
            f"{source.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, smaller than a patch of {patch}x{patch}: "
            "take it out of the training corpus or lower train.patch."
        )
    about = {"name": source.name, "sha256": source.sha256}
    members = {"hr.npy": _npy(target), "json": json.dumps(about, sort_keys=True).encode()}
    degraded = degrade(target, experiment.task, experiment.level)
    if degraded is not None:
        members["lr.npy"] = _npy(degraded)
        if enlarged:
            members["up.npy"] = _npy(bicubic_upscale(degraded, scale))
    return members


def _check_pixels(train: Sequence[ShardMade], evaluation: Sequence[ShardMade]) -> None:
    """UserError if a picture is trained on and measured on, also where it was saved in another format."""
    trained = {digest: name for made in train for digest, name in made.pixels.items()}
    for made in evaluation:
        for digest, name in made.pixels.items():
            if digest in trained:
                raise UserError(
                    f"The training image {trained[digest]} has the pixels of the evaluation image {name}: "
                    "take it out of one of the corpora."
                )


def _npy(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(image), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _open_distinct(params: Params, name: str, references: Sequence[str]) -> list[Corpus]:
    for reference in references:
        if references.count(reference) > 1:
            raise UserError(f"{params.path}: data.train of {name} names {reference} twice: remove one.")
    return [open_images(params, reference) for reference in references]


def _split(corpora: Sequence[Corpus], images_per_shard: int) -> list[tuple[Source, ...]]:
    sources = [source for corpus in corpora for source in corpus.images]
    return [tuple(sources[i : i + images_per_shard]) for i in range(0, len(sources), images_per_shard)]


def _image_set(corpora: Sequence[Corpus], made: Sequence[ShardMade]) -> ImageSet:
    converted: Counter[str] = Counter()
    for of_shard in made:
        converted.update(of_shard.converted)
    return ImageSet(
        corpora={corpus.reference: corpus.sha256 for corpus in corpora},
        images=sum(of_shard.shard.samples for of_shard in made),
        converted=dict(converted),
        shards=[of_shard.shard for of_shard in made],
    )


def _run(jobs: Sequence[ShardJob], workers: int) -> list[ShardMade]:
    """make_shard of every job, in their order."""
    if workers == 0:
        return [make_shard(job) for job in jobs]
    start_ray(min(workers, len(jobs)))
    import ray

    task = ray.remote(make_shard)
    # Two tasks per CPU keep the CPUs busy; more would only hold more jobs in the cluster's memory.
    in_flight = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    made: dict[int, ShardMade] = {}
    pending: dict[ray.ObjectRef, int] = {}
    waiting = iter(enumerate(jobs))
    while len(made) < len(jobs):
        while len(pending) < in_flight and (following := next(waiting, None)):
            number, job = following
            pending[task.remote(job)] = number
        (done,), _ = ray.wait(list(pending), num_returns=1)
        try:
            made[pending.pop(done)] = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):  # in Ray's wrapping the one sentence becomes a traceback
                raise error.cause from None
            raise
    return [made[number] for number in range(len(jobs))]
