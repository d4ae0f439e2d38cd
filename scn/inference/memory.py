"""How large a tile may be: what a network needs for a pixel, and what memory there is."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from scn.core import memory
from scn.imaging.tiles import STEP, TILE, spans
from scn.inference.precision import Precision, computed
from scn.networks.profile import activation_bytes

SMALLEST_TILE = 128
"""The smallest tile that is tried when memory runs out."""
_SIDE = 64
"""Side of the image that is measured."""
_SHARE = 0.5
"""The part of the free memory that a tile's features may take: the system, and images before and after, need some."""
_WORKSPACE = 1.3
"""What convolutions need for themselves, as a part of the features."""


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on a device."""
    if device.type != "cuda":
        return memory.free()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, for its next tensors
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def tile_for(architecture: Mapping[str, Any], planes: int, device: torch.device, precision: Precision) -> int:
    """The side of the tiles that memory allows now, SMALLEST_TILE to TILE pixels.

    Args:
        architecture: of the network, as for scn.networks.build.build.
        planes: how many images of the network's channels a tile is: 3 for the channels of a colour image.
    """
    values = 2 if computed(device, precision) == "bfloat16" else 4
    per_pixel = _bytes_per_pixel(json.dumps(architecture, sort_keys=True)) * values / 4 * planes * _WORKSPACE
    return int(min(TILE, max(SMALLEST_TILE, (free_memory(device) * _SHARE / per_pixel) ** 0.5)))


@cache  # a batch, and a page, ask for each image
def _bytes_per_pixel(architecture: str) -> float:
    """Bytes of float32 that a network needs for a pixel; its architecture is JSON, which has a hash."""
    # Folded weights, as those that are computed with, from the start: to fold them without numbers takes a second.
    parameters = json.loads(architecture)
    plain = {"weight_norm": False} if "weight_norm" in parameters else {}
    return activation_bytes({**parameters, **plain}, _SIDE, _SIDE, "cpu") / _SIDE**2


def economical(tile: int, height: int, width: int, margin: int, step: int = STEP) -> int:
    """The side, at most `tile`, of the tiles of an image that together have the fewest pixels.

    Where the largest tiles don't go evenly into a side, the last one repeats most of the one before: of 3000 x 4000
    pixels, tiles of 1024 compute 1.76 times as many.

    Args:
        margin, step: as for scn.imaging.tiles.in_tiles.
    """

    def pixels(side: int) -> int:
        rows, columns = (
            sum(each.end - each.start for each in spans(size, side, margin, step)) for size in (height, width)
        )
        return rows * columns

    if height * width <= tile**2:  # as a whole
        return tile
    sides = range(tile, max(tile // 2, SMALLEST_TILE) - 1, -STEP)
    return min(sides, key=pixels, default=tile)  # of equal ones the largest
