"""Makes the batch of every step from images in memory, while the images of the next group are read.

Training data is a sequence of groups of images: one group of all images, read once, or (with `train.group_mib`) other
groups every epoch, of which two are in memory: the one in use and the next. With `train.lanes` each lane of the batch
has such a sequence of its own, and a rank reads those of its lanes. Patches are cut, turned and made noisy on the
device that holds the images.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.memory import room_for
from scn.data.cache import ReadShard, shard_reader
from scn.data.groups import Group, Groups
from scn.data.image_pool import ImagePool
from scn.data.lanes import deal, lanes_of
from scn.data.loader import Loader, processes_here
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
    """Makes a rank's share of the batches of a run; call it from one thread only."""

    def __init__(
        self,
        experiment: Experiment,
        samplers: Sequence[Sampler],
        load: Callable[[Group, Event], ImagePool],
        device: torch.device,
        share: range,
    ) -> None:
        """Takes the samplers, one after the other, of the patches whose numbers in a step's batch are `share`."""
        self._experiment = experiment
        self._samplers = samplers
        self._load = load
        self._device = device
        self._share = share
        self._background = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._held: dict[Group, tuple[Future[ImagePool], Event]] = {}
        self._drawn: dict[int, list[tuple[list[Part], Group | None]]] = {}
        side = experiment.train.patch_size
        self._no_room = (
            f"{device} has no room for the {len(share)} patches of {side}x{side} of a step of {experiment.name}, "
            "besides the training images: take a smaller batch or train.patch_size, or more run.workers."
        )

    def draw(self, step: int) -> None:
        """Draws the images and places of a step's patches, unless that is done; `batch` does so, too."""
        if step not in self._drawn:
            self._drawn = {step: [(sampler.step(step), sampler.following(step)) for sampler in self._samplers]}

    def batch(self, step: int) -> Batch:
        """This rank's equal part of the patches of step `step` (from 0).

        Raises:
            UserError: naming the shard that is missing or damaged.
            StoreError: if the store has failed for too long.
            NoRoom: if memory is too small for the images or the patches.
        """
        with room_for(self._no_room):
            cuts = [pool.cut(part) for part, pool in self._parts(step)]
            degraded, target = (cut[0] if len(cut) == 1 else torch.cat(cut) for cut in zip(*cuts, strict=True))
            degraded, target = degraded.float(), target.float()
            if not self._experiment.task.stored:
                degraded += self._experiment.level * normal(self._experiment, step, self._share, self._device)
            return Batch(input=degraded.div_(255), target=target.div_(255))

    def images(self, step: int) -> list[str]:
        """The name of the image of every patch in this rank's part of a step, in the order of the patches."""
        return [pool.names[int(image)] for part, pool in self._parts(step) for image in part.image]

    def blank(self) -> Batch:
        """A blank patch, for a rank that has none of its own."""
        experiment = self._experiment
        channels, side = experiment.task.image_channels, experiment.train.patch_size
        input, target = (
            torch.zeros(1, channels, each, each, device=self._device) for each in (side, side * experiment.scale)
        )
        return Batch(input=input, target=target)

    def prepare(self, step: int) -> None:
        """Waits until the images of a step are in memory, as `batch` does too."""
        with room_for(self._no_room):
            self._parts(step)

    def close(self) -> None:
        """Stops reading in the background and frees the images."""
        self._hold([])
        self._background.shutdown()

    def _parts(self, step: int) -> list[tuple[Part, ImagePool]]:
        parts, needed, ahead = list[Part](), list[Group](), list[Group]()
        self.draw(step)
        for of_step, following in self._drawn[step]:
            groups = dict.fromkeys(part.group for part in of_step)
            # There is memory for two groups: the next one is read when the step needs one only.
            if len(groups) == 1 and following:
                ahead.append(following)
            needed += groups
            parts += of_step
        self._hold([*needed, *ahead])
        mine = [part.within(self._share.start, self._share.stop) for part in parts]
        return [(part, self._pool(part.group)) for part in mine if part]

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

    def _hold(self, groups: Iterable[Group]) -> None:
        groups = dict.fromkeys(groups)
        for group in [group for group in self._held if group not in groups]:
            loading, abandoned = self._held.pop(group)
            abandoned.set()
            loading.cancel()
        for group in groups:
            if group not in self._held:
                abandoned = Event()
                self._held[group] = self._background.submit(self._load, group, abandoned), abandoned


def open_feed(
    store: Store,
    manifest: TrainingManifest,
    experiment: Experiment,
    device: torch.device,
    *,
    cache: Path | None,
    rank: int = 0,
    world_size: int = 1,
) -> Feed:
    """Opens a rank's share of the training data of an experiment; close the feed at the end.

    Args:
        device: holds the images and the batches.
        cache: folder of the shard cache on this machine (scn.data.cache.shard_reader), and of the locks of memory that
            its processes share (scn.data.loader); None: neither.
        rank: number of this process, from 0.
        world_size: number of processes that each batch is split among evenly.
    Raises:
        UserError: if an image is smaller than a patch, the images exceed `run.memory_mib` or are fewer than the lanes
            that they are dealt to, or the cache can't be used.
    """
    run, train, shards = experiment.run, experiment.train, manifest.shards
    lanes, count = train.dealt_lanes, train.batch_size // world_size
    read = shard_reader(store, manifest.stage, cache, run.cache_mib)
    _check_sizes(read, shards, experiment)
    if manifest.images < lanes:
        raise UserError(
            f"The {manifest.images} training images of {experiment.name} can't be dealt to {lanes} lanes: lower "
            "train.lanes, or leave train.group_mib out, so that all lanes have all images."
        )
    budget, dealt = None if train.group_mib is None else int(train.group_mib * 2**20) // lanes, deal(shards, lanes)
    groups = [Groups(experiment, dealt[lane], budget, lane) for lane in lanes_of(rank, world_size, lanes)]
    if lanes > 1:
        _check_memory_of_lanes(groups, experiment, device)
    else:
        _check_memory(groups[0], experiment)
    # Lanes of another process have other images: there is nothing to share.
    loader = Loader(experiment, manifest.stage, read, device, cache if lanes == 1 else None)
    samplers = [Sampler(of_lane, manifest.images, experiment) for of_lane in groups]
    return Feed(experiment, samplers, loader, device, range(rank * count, (rank + 1) * count))


def _check_memory(groups: Groups, experiment: Experiment) -> None:
    """Raises UserError if the images that are in memory together exceed `run.memory_mib`."""
    memory, group = experiment.run.memory_mib, experiment.train.group_mib
    if group is not None:
        if 2 * group > memory:
            raise UserError(
                f"Two groups of train.group_mib {group:g} don't fit run.memory_mib {memory} of {experiment.name}: "
                "raise run.memory_mib, or lower train.group_mib, which begins a new run."
            )
        if groups.most_bytes > memory * 2**20:
            raise UserError(
                f"A shard of {experiment.name} is larger than train.group_mib, so that up to "
                f"{groups.most_bytes / 2**20:.0f} MiB of images are in memory, more than run.memory_mib, {memory}: "
                "raise it, or lower data.shard_mib and make the shards again."
            )
        return
    mib = groups.most_bytes / 2**20
    if mib > memory:
        raise UserError(
            f"The training images of {experiment.name} have {mib:.0f} MiB uncompressed, more than run.memory_mib, "
            f"{memory}: raise it, or set train.group_mib to {max(memory // 2, 1)}, which samples from a group of "
            "images at a time."
        )


def _check_memory_of_lanes(groups: Sequence[Groups], experiment: Experiment, device: torch.device) -> None:
    """Raises UserError if the images of a GPU's lanes, or of all workers' lanes on this machine, are too many."""
    memory, train = experiment.run.memory_mib, experiment.train
    gpu = device.type == "cuda"
    workers = 1 if gpu else processes_here()
    mib = workers * sum(of_lane.most_bytes for of_lane in groups) / 2**20
    if train.group_mib is None or mib <= memory:
        return
    lanes = workers * len(groups)
    larger = "train.group_mib" if 2 * train.group_mib * lanes / train.lanes > memory else "data.shard_mib"
    raise UserError(
        f"{lanes} of the {train.lanes} lanes of {experiment.name} are on this {'GPU' if gpu else 'machine'} and have "
        f"up to {mib:.0f} MiB of images in memory, more than run.memory_mib, {memory}: raise it, take more "
        f"{'GPUs' if gpu else 'machines'}, or lower {larger}, which begins a new run."
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
