"""Pairs of degraded image and target from shards, as a pipeline of the webdataset package.

It has another name than the function in it, which `from scn.shards import webdataset` loads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from scn.core.errors import UserError
from scn.core.schema import unknown
from scn.imaging.degradation import evaluation_noise, noise
from scn.imaging.tasks import TASKS
from scn.shards.manifest import EvaluationManifest, ImageSet, Manifest, Shard
from scn.shards.pipeline import ShardDataset
from scn.shards.samples import Sample, decode
from scn.storage.base import Store

Noise = Callable[[Sample], NDArray[np.float32]]


def webdataset(
    manifest: Manifest,
    store: Store,
    *,
    level: int | None = None,
    evaluation_set: str | None = None,
    shuffle: int = 0,
    seed: int = 0,
    epoch: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
) -> wds.WebDataset:
    """The samples of a manifest's shards as a webdataset.WebDataset, for a training loop of your own.

    A sample is a pair (input, target) of float32 tensors, (C, h, w) and (C, s*h, s*w), where s is the scale factor of
    super-resolution (1 for other tasks), 0 is black and 1 is white. It is an image or a sub-image, in the size that it
    has in the shards: cut patches from it with `.map` before it is put into batches.

    The input is the degraded image of the shards. For denoising it is the target with noise, which is not clipped: of
    an evaluation manifest the very noise that `scn evaluate` adds, of a training manifest noise that is a function of
    seed, epoch and sample.

    Every shard is fetched by the store, which repeats requests that fail, and compared with its SHA-256 in the
    manifest before any sample of it is used. Whole shards are dealt to the processes of a distributed training and to
    the workers of its DataLoader. The samples and their order are a function of the arguments and of the number of
    readers alone, so a second pass repeats the first one: make another pipeline for every epoch.

    Args:
        manifest: what scn.shards.manifest.load_manifest returns.
        store: what scn.storage.open_store returns; a DataLoader's worker opens it anew by its URL.
        level: the level of degradation; by default the manifest's. Shards also hold those of `data.levels`.
        evaluation_set: the set of an evaluation manifest; may be left out if there is only one.
        shuffle: the number of samples, in the form in which they are stored, that every reader keeps in memory to draw
            the next one from; the order of the shards is drawn too. 0: all samples in the order of the shards.
        seed: decides order and noise, together with the epoch.
        epoch: the number of the epoch.
        rank: the process's number among those that share the shards; by default torchrun's or torch.distributed's,
            where the process belongs to a group.
        world_size: the number of these processes; goes with rank.
    Raises:
        UserError: if the shards do not hold the level or the set; while iterating, if a shard is missing or damaged,
            or if there are more readers than shards. A DataLoader appends the traceback of its worker to the message.
    """
    level = manifest.level if level is None else level
    _check_level(manifest, level)
    shards = tuple(_image_set(manifest, evaluation_set).shards)
    if shuffle:
        shards = tuple(shards[i] for i in np.random.default_rng([seed, epoch]).permutation(len(shards)))
    if (rank is None) != (world_size is None):
        raise ValueError("rank and world_size go together")
    if rank is None or world_size is None:
        rank, world_size = wds.utils.pytorch_worker_info()[:2]
    # Manifest and store may be anybody's, so no stage of DVC is named.
    dataset = ShardDataset(_Share(shards, manifest.experiment, rank, world_size), store, None)
    if shuffle:
        dataset = dataset.shuffle(shuffle, initial=shuffle, seed=f"{seed} {epoch}")
    added: Noise | None = None
    if not TASKS[manifest.task].stored:
        if isinstance(manifest, EvaluationManifest):
            added = partial(_evaluation_noise, sigma=level)
        else:
            added = partial(_training_noise, sigma=level, seed=seed, epoch=epoch)
    return dataset.map(partial(decode, level=level)).map(partial(_pair, added=added))


@dataclass(frozen=True)
class _Share:
    """The shards of one reader: a worker of a DataLoader, or a process without workers."""

    shards: tuple[Shard, ...]
    experiment: str
    rank: int
    world_size: int

    def __call__(self) -> Iterator[Shard]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        readers = self.world_size * workers
        if readers > len(self.shards):
            raise UserError(
                f"{self.experiment} has too few shards ({len(self.shards)}) for {readers} readers ({self.world_size} "
                f"processes x {workers} workers): use fewer workers, or spread its training images over more shards "
                f"with data.min_shards: {readers} and the `data-prep shard` command that made their manifest."
            )
        return islice(self.shards, self.rank + self.world_size * worker, None, readers)


def _check_level(manifest: Manifest, level: int) -> None:
    """UserError if the shards don't hold images at the level, or it is none of the task's."""
    task = TASKS[manifest.task]
    low, high = task.level_range
    levels = manifest.parameters.get("levels", [manifest.level]) if task.stored else range(low, high + 1)
    if level not in levels:
        held = ", ".join(map(str, levels)) if task.stored else f"{low}..{high}"
        raise UserError(
            f"The shards of {manifest.experiment} hold no images at {task.level_name} {level}, only at {held}: ask for "
            "one of these, or make shards with another level or with data.levels."
        )


def _image_set(manifest: Manifest, name: str | None) -> ImageSet:
    """The training images, or an evaluation set; UserError if the manifest has none of this name."""
    if not isinstance(manifest, EvaluationManifest):
        if name is not None:
            raise UserError(f"'{name}' is an evaluation set, but this manifest of {manifest.experiment} is train.json.")
        return manifest
    if name is None and len(manifest.sets) == 1:
        return next(iter(manifest.sets.values()))
    if name is None:
        raise UserError(f"evaluation_set: name one of the sets of {manifest.experiment}: {', '.join(manifest.sets)}.")
    if name not in manifest.sets:
        raise UserError(f"{manifest.experiment}: {unknown(name, manifest.sets, 'evaluation set')}.")
    return manifest.sets[name]


def _pair(sample: Sample, added: Noise | None) -> tuple[Tensor, Tensor]:
    degraded = sample.lr if added is None else sample.hr + added(sample)
    assert degraded is not None  # the level was checked
    return _tensor(degraded), _tensor(sample.hr)


def _evaluation_noise(sample: Sample, sigma: int) -> NDArray[np.float32]:
    return evaluation_noise(sample.name, sample.hr.shape, sigma)


def _training_noise(sample: Sample, sigma: int, seed: int, epoch: int) -> NDArray[np.float32]:
    about = sample.about
    return noise(sample.hr.shape, sigma, np.random.default_rng([seed, epoch, about.index, about.part]))


def _tensor(image: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    """An image (H, W) or (H, W, C), 0..255, as float32 (C, H, W), 0..1."""
    planes = image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)
    return torch.from_numpy(np.divide(planes, 255, dtype=np.float32, order="C"))
