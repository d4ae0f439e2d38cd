"""How large a tile may be: what a network needs for a pixel, and what memory there is."""

from collections.abc import Mapping
from typing import Any

import torch

from scn.core import memory
from scn.imaging.tiles import STEP, TILE, spans
from scn.inference.precision import Precision, computed
from scn.networks.profile import activation_bytes

SMALLEST_TILE = 128
"""The smallest tile that is tried when memory runs out."""
_SHARE = 0.5
"""The part of the free memory that a tile's features may take: the system, and images before and after, need some."""
_WORKSPACE = 1.3
"""What convolutions need for themselves, as a part of the features."""


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take on a device."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else memory.free()


def tile_for(architecture: Mapping[str, Any], planes: int, device: torch.device, precision: Precision) -> int:
    """The side of the tiles that memory allows now, SMALLEST_TILE to TILE pixels.

    Args:
        architecture: of the network, as for scn.networks.build.build.
        planes: how many images of the network's channels a tile is: 3 for the channels of a colour image.
    """
    side = 64
    values = 2 if computed(device, precision) == "bfloat16" else 4
    per_pixel = activation_bytes(architecture, side, side, "cpu") * values / 4 * planes * _WORKSPACE / side**2
    return int(min(TILE, max(SMALLEST_TILE, (free_memory(device) * _SHARE / per_pixel) ** 0.5)))


def economical(tile: int, height: int, width: int, margin: int) -> int:
    """The side, at most `tile`, of the tiles of an image that together have the fewest pixels.

    Where the largest tiles don't go evenly into a side, the last one repeats most of the one before: of 3000 x 4000
    pixels, tiles of 1024 compute 1.76 times as many.

    Args:
        margin: as for scn.imaging.tiles.in_tiles.
    """

    def pixels(side: int) -> int:
        rows, columns = (sum(each.end - each.start for each in spans(size, side, margin)) for size in (height, width))
        return rows * columns

    if height * width <= tile**2:  # as a whole
        return tile
    sides = range(tile, max(tile // 2, SMALLEST_TILE) - 1, -STEP)
    return min(sides, key=pixels, default=tile)  # of equal ones the largest


def ran_out(error: BaseException) -> bool:
    """Returns True if an exception says that there was too little memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
