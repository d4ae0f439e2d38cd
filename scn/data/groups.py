"""Groups of training images that are in memory together: all images, or those of a few shards at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scn.config.params import Experiment
from scn.data.philox import Purpose, generator
from scn.shards.manifest import Shard


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """n images that are in memory together, in the order of their set."""

    images: NDArray[np.int64]
    """(n,) numbers of the images in their set, ascending."""
    sizes: NDArray[np.int64]
    """(n, 2) height and width of each target in pixels."""
    shards: tuple[Shard, ...]
    """All shards that hold these images or parts of them."""

    def __len__(self) -> int:
        return len(self.images)


class Groups:
    """The groups of images of every epoch.

    Every epoch shuffles the shards and fills groups with their images, up to a budget of memory. An image that lies in
    several shards belongs to the group of the first one, which reads the others too. So every image is in exactly one
    group of each epoch, and any number of processes can share any number of shards: each reads those that its groups
    need.
    """

    def __init__(self, experiment: Experiment, shards: Sequence[Shard], budget: int | None, lane: int = 0) -> None:
        """Takes the images of `shards`; the groups of an epoch are made when they are asked for.

        Args:
            budget: bytes of uncompressed images in a group, which only a single shard may exceed; None: one group of
                all images.
            lane: number of the lane that the images were dealt to.
        """
        self.lane = lane
        self._seed = experiment.train.seed
        self._shards = shards
        self._budget = budget
        self._sizes = {image: size for shard in shards for image, size in shard.images.items()}
        self._bytes = {image: image_bytes(experiment, *size) for image, size in self._sizes.items()}
        self._holders: dict[int, list[int]] = {}
        for number, shard in enumerate(shards):
            for image in shard.images:
                self._holders.setdefault(image, []).append(number)
        self._epochs: dict[int, list[Group]] = {}
        everything = self._group(sorted(self._sizes))
        fits = budget is None or sum(self._bytes.values()) <= budget
        self._everything = everything if fits else None

    @property
    def images(self) -> int:
        """Number of images in all groups of an epoch."""
        return len(self._sizes)

    @property
    def most_bytes(self) -> int:
        """Most bytes of images that are in memory: of all images, or of a group in use and the next one."""
        if self._budget is None or self._everything:
            return sum(self._bytes.values())
        of_shards = [sum(self._bytes[image] for image in shard.images) for shard in self._shards]
        return 2 * max(self._budget, *of_shards)

    def of_epoch(self, epoch: int) -> list[Group]:
        """The groups of an epoch (from 0), in the order of their use.

        The same objects come back as long as calls ask for an epoch and its neighbours.
        """
        if self._everything:
            return [self._everything]
        if epoch not in self._epochs:
            near = {e: groups for e, groups in self._epochs.items() if abs(e - epoch) == 1}
            self._epochs = near | {epoch: self._planned(epoch)}
        return self._epochs[epoch]

    def _planned(self, epoch: int) -> list[Group]:
        assert self._budget is not None
        order = generator(self._seed, Purpose.SHARDS, epoch, lane=self.lane).permutation(len(self._shards))
        members: list[list[int]] = [[]]
        taken, load = set[int](), 0
        for number in order:
            own = [image for image in self._shards[number].images if image not in taken]
            weight = sum(self._bytes[image] for image in own)
            if members[-1] and load + weight > self._budget:
                members.append([])
                load = 0
            members[-1] += own
            taken.update(own)
            load += weight
        return [self._group(sorted(images)) for images in members if images]

    def _group(self, images: list[int]) -> Group:
        numbers = sorted({number for image in images for number in self._holders[image]})
        return Group(
            images=np.array(images, np.int64),
            sizes=np.array([self._sizes[image] for image in images], np.int64),
            shards=tuple(self._shards[number] for number in numbers),
        )


def group_bytes(experiment: Experiment, group: Group) -> int:
    """Bytes of all images of a group, each as in `image_bytes`."""
    return sum(image_bytes(experiment, *map(int, size)) for size in group.sizes)


def image_bytes(experiment: Experiment, height: int, width: int) -> int:
    """Bytes of an uncompressed target of this size in pixels and, where the task stores it, its degraded image."""
    task, scale = experiment.task, experiment.scale
    pixels = height * width + ((height // scale) * (width // scale) if task.stored else 0)
    return pixels * task.image_channels
