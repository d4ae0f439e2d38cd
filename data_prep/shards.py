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
from scn.storage import Store, open_store

SMALLEST_TARGET, SMALLEST_INPUT = 16, 8
"""Sides in pixels below which an image is an error: there is nothing to learn from, or measure on, it."""


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything that makes one shard; goes to a worker."""

    experiment: Experiment
    sources: tuple[Source, ...]
    number: int
    """Of the shard in its set."""
    enlarged: bool
    """Store the input enlarged by bicubic interpolation too."""
    store: Store


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
                enlarged=i > 0 and experiment.scale > 1,
                store=store,
            )
            for number, sources in enumerate(_split(corpora, experiment.data.images_per_shard))
        ]
        for i, corpora in enumerate(sets)
    ]
    made = iter(_run([job for of_set in jobs for job in of_set], workers))
    image_sets = [_image_set(corpora, [next(made) for _ in of_set]) for corpora, of_set in zip(sets, jobs, strict=True)]
    return Manifest(
        experiment=name,
        task=experiment.task_name,
        level=experiment.level,
        train=image_sets[0],
        evaluation={corpus.reference: made_of for corpus, made_of in zip(evaluation, image_sets[1:], strict=True)},
    )


def make_shard(job: ShardJob) -> tuple[Shard, dict[str, int]]:
    """Decodes, degrades and stores the images of one shard.

    Returns:
        The shard's record, and how many images went through which conversion.
    Raises:
        UserError: naming the first image that can't be used, or the store that can't be written to.
    """
    converted: Counter[str] = Counter()
    file = io.BytesIO()
    # USTAR headers hold nothing but what is set here: no times, users or process ids.
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        first = job.number * job.experiment.data.images_per_shard
        for key, source in enumerate(job.sources, first):
            members, conversions = _sample(source, job.experiment, job.enlarged)
            converted.update(conversions)
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
    job.store.put(shard.key, content)
    return shard, dict(converted)


def _sample(source: Source, experiment: Experiment, enlarged: bool) -> tuple[dict[str, bytes], list[str]]:
    """The members of one sample (see scn.manifest) and the conversions its image went through."""
    pixels, conversions = decode(source.read(), source.path)
    scale = experiment.scale
    target = modcrop(pixels, scale)
    if not enlarged:  # to be measured, a grey photograph stays grey, as in the papers' bicubic rows
        target = to_channels(target, experiment.task.channels)
    smallest = max(SMALLEST_TARGET, SMALLEST_INPUT * scale)
    if min(target.shape[:2]) < smallest:
        raise UserError(
            f"{source.path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, too small for {experiment.name}, which "
            f"needs {smallest}x{smallest}: take it out of the corpus."
        )
    about = {"name": source.name, "sha256": source.sha256}
    members = {"hr.npy": _npy(target), "json": json.dumps(about, sort_keys=True).encode()}
    degraded = degrade(target, experiment.task, experiment.level)
    if degraded is not None:
        members["lr.npy"] = _npy(degraded)
        if enlarged:
            members["up.npy"] = _npy(bicubic_upscale(degraded, scale))
    return members, conversions


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


def _image_set(corpora: Sequence[Corpus], made: Sequence[tuple[Shard, dict[str, int]]]) -> ImageSet:
    converted: Counter[str] = Counter()
    for _, counts in made:
        converted.update(counts)
    return ImageSet(
        corpora={corpus.reference: corpus.sha256 for corpus in corpora},
        images=sum(shard.samples for shard, _ in made),
        converted=dict(converted),
        shards=[shard for shard, _ in made],
    )


def _run(jobs: Sequence[ShardJob], workers: int) -> list[tuple[Shard, dict[str, int]]]:
    """make_shard of every job, in their order."""
    if workers == 0:
        return [make_shard(job) for job in jobs]
    start_ray(min(workers, len(jobs)))
    import ray

    task = ray.remote(make_shard)
    # Two tasks per CPU keep the CPUs busy; more would only hold more jobs in the cluster's memory.
    in_flight = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    made: dict[int, tuple[Shard, dict[str, int]]] = {}
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
