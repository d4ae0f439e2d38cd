"""Makes the batch of every step from images in memory, while the images of the next group are read.

Training data is a sequence of groups of images: one group of all images, read once, or (with `train.group_mib`) other
groups every epoch, of which two are in memory: the one in use and the next. Patches are cut, turned and made noisy on
the device that holds the images.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.data.cache import ReadShard, shard_reader
from scn.data.groups import Group, Groups, image_bytes
from scn.data.image_pool import ImagePool
from scn.data.loader import Loader
from scn.data.noise import normal
from scn.data.sampler import Part, Sampler
from scn.shards.manifest import Shard, TrainingManifest
from scn.shards.samples import unpack
from scn.storage.base import Store, StoreError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B degraded patches and their targets, float32, where 0 is black and 1 is white; noise may leave that range."""

    input: Tensor
    """Degraded patches, (B, C, p, p)."""
    target: Tensor
    """Targets, (B, C, sp, sp), where s is the scale."""


class Feed:
    """Makes the batches of a run; call it from one thread only."""

    def __init__(
        self,
        experiment: Experiment,
        sampler: Sampler,
        load: Callable[[Group, Event], ImagePool],
        device: torch.device,
    ) -> None:
        self._experiment = experiment
        self._sampler = sampler
        self._load = load
        self._device = device
        self._background = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._held: dict[Group, tuple[Future[ImagePool], Event]] = {}

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """The batch of one of `world_size` ranks in step `step` (from 0): its equal part of the step's patches.

        Raises:
            UserError: naming the shard that is missing or damaged, or if the images need too much memory.
            StoreError: if the store has failed for too long.
        """
        share = self._experiment.train.batch_size // world_size
        mine = range(rank * share, (rank + 1) * share)
        cuts = []
        for part, pool in self._parts(step):
            if chosen := part.within(mine.start, mine.stop):
                cuts.append(pool.cut(chosen))
        degraded, target = (cut[0] if len(cut) == 1 else torch.cat(cut) for cut in zip(*cuts, strict=True))
        degraded, target = degraded.float(), target.float()
        if not self._experiment.task.stored:
            degraded += self._experiment.level * normal(self._experiment, step, mine, self._device)
        return Batch(input=degraded.div_(255), target=target.div_(255))

    def images(self, step: int) -> list[str]:
        """The name of the image of every patch of a step, over all ranks, in the order of the patches."""
        return [pool.names[int(image)] for part, pool in self._parts(step) for image in part.image]

    def blank(self, world_size: int = 1) -> Batch:
        """A batch of the shape of those that `batch` makes, for a rank that could not read its patches."""
        experiment = self._experiment
        share, channels = experiment.train.batch_size // world_size, experiment.task.image_channels
        side = experiment.train.patch_size
        input, target = (
            torch.zeros(share, channels, each, each, device=self._device) for each in (side, side * experiment.scale)
        )
        return Batch(input=input, target=target)

    def prepare(self, step: int) -> None:
        """Waits until the images of a step are in memory, as `batch` does too."""
        self._parts(step)

    def close(self) -> None:
        """Stops reading in the background and frees the images."""
        self._hold([])
        self._background.shutdown()

    def _parts(self, step: int) -> list[tuple[Part, ImagePool]]:
        parts = self._sampler.step(step)
        needed = list(dict.fromkeys(part.group for part in parts))
        # There is memory for two groups: the next one is read when the step needs one only.
        following = self._sampler.following(step) if len(needed) == 1 else None
        self._hold([*needed, following] if following else needed)
        return [(part, self._pool(part.group)) for part in parts]

    def _pool(self, group: Group) -> ImagePool:
        early = self._held[group][0].done()
        try:
            return self._held[group][0].result()
        except StoreError:
            if not early:
                raise
        del self._held[group]  # it failed when no step needed it: the store may be back
        self._hold([*self._held, group])
        return self._held[group][0].result()

    def _hold(self, groups: list[Group]) -> None:
        for group in [group for group in self._held if group not in groups]:
            loading, abandoned = self._held.pop(group)
            abandoned.set()
            loading.cancel()
        for group in groups:
            if group not in self._held:
                abandoned = Event()
                self._held[group] = self._background.submit(self._load, group, abandoned), abandoned


def open_feed(
    store: Store, manifest: TrainingManifest, experiment: Experiment, device: torch.device, *, cache: Path | None
) -> Feed:
    """Opens the training data of an experiment; close the feed at the end.

    Args:
        device: holds the images and the batches.
        cache: folder of the shard cache on this machine (scn.data.cache.shard_reader), and of the locks of memory that
            its processes share (scn.data.loader); None: neither.
    Raises:
        UserError: if an image is smaller than a patch, the images exceed `run.memory_mib`, or the cache can't be used.
    """
    run, shards = experiment.run, manifest.shards
    read = shard_reader(store, experiment.name, cache, run.cache_mib)
    _check_sizes(read, shards, experiment)
    _check_memory(shards, experiment)
    group_mib = experiment.train.group_mib
    groups = Groups(experiment, shards, None if group_mib is None else int(group_mib * 2**20))
    sampler, loader = Sampler(groups, manifest.images, experiment), Loader(experiment, read, device, cache)
    return Feed(experiment, sampler, loader, device)


def _check_memory(shards: list[Shard], experiment: Experiment) -> None:
    """Raises UserError if the images that are in memory together exceed `run.memory_mib`."""
    memory, group = experiment.run.memory_mib, experiment.train.group_mib
    if group is not None:
        if 2 * group > memory:
            raise UserError(
                f"Two groups of train.group_mib {group:g} don't fit run.memory_mib {memory} of {experiment.name}: "
                "raise run.memory_mib, or lower train.group_mib, which begins a new run."
            )
        return
    sizes = {image: size for shard in shards for image, size in shard.images.items()}
    mib = sum(image_bytes(experiment, *size) for size in sizes.values()) / 2**20
    if mib > memory:
        raise UserError(
            f"The training images of {experiment.name} have {mib:.0f} MiB uncompressed, more than run.memory_mib, "
            f"{memory}: raise it, or set train.group_mib to {max(memory // 2, 1)}, which samples from a group of "
            "images at a time."
        )


def _check_sizes(read: ReadShard, shards: list[Shard], experiment: Experiment) -> None:
    """Raises UserError for an image that no patch can be cut from."""
    side = experiment.train.patch_size * experiment.scale
    for shard in shards:
        for image, (height, width) in shard.images.items():
            if min(height, width) >= side:
                continue
            name = next(unpack(read(shard), experiment.level, {image})).name
            raise UserError(
                f"The image {name} is {width}x{height} pixels, smaller than a patch of {side}x{side}: take it out of "
                "the training corpus or lower train.patch_size."
            )
