"""Deals the training images to the lanes of a batch, so that a worker reads the shards of its own lanes only."""

from collections.abc import Sequence

import numpy as np

from scn.shards.manifest import Shard


def deal(shards: Sequence[Shard], lanes: int) -> list[list[Shard]]:
    """Deals the images of shards to lanes: as many to each, to one image, and the same ones in every epoch.

    The row of all images, shard after shard, is cut into equal parts. So a shard lies in one lane, but for those that
    are cut: at most one less than there are lanes. An image that lies in several shards is dealt with the first of
    them, and its lane has the others too.

    Args:
        lanes: number of lanes, at most that of the images.
    Returns:
        For each lane the shards that hold its images, in their order; each names the images of this lane only.
    """
    images = list(dict.fromkeys(image for shard in shards for image in shard.images))
    lane_of = {image: lane for lane, part in enumerate(np.array_split(images, lanes)) for image in part.tolist()}
    dealt: list[list[Shard]] = [[] for _ in range(lanes)]
    for shard in shards:
        parts: dict[int, dict[int, tuple[int, int]]] = {}
        for image, size in shard.images.items():
            parts.setdefault(lane_of[image], {})[image] = size
        for lane, own in parts.items():
            dealt[lane].append(shard.model_copy(update={"images": own}))
    return dealt


def lanes_of(rank: int, world_size: int, lanes: int) -> range:
    """Numbers of the lanes that a rank has patches of: an equal part of them, or the one that all ranks share."""
    return range(rank * lanes // world_size, -(-(rank + 1) * lanes // world_size))
