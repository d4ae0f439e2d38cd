"""Lets a network restore a part of an image as it restores that part within the whole.

Bilinear resampling with aligned corners depends on the size of what it resamples: pixel j of H' lies at j (H - 1) /
(H' - 1) of H. A tile that is resampled as if it were an image samples other places than the whole does, the more so the
farther from its middle. While a `Windows` is in force, `scn.networks.base.resample.bilinear` computes the whole's
places, for the rows and columns that the tile has of every scale.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Window(NamedTuple):
    """Pixels start to start + size of a side of an image, or of a scale of its pyramid, of `whole` pixels."""

    start: int
    whole: int


class Windows(NamedTuple):
    """Where the features of a tile lie in those of the whole image."""

    rows: Mapping[int, Window]
    """Height of the tile at a scale -> its window there."""
    columns: Mapping[int, Window]
    """Width of the tile at a scale -> its window there."""


_IN_FORCE: ContextVar[Windows | None] = ContextVar("windows", default=None)


def in_force() -> Windows | None:
    """The windows that features are resampled in; None: what is resampled is a whole image."""
    return _IN_FORCE.get()


@contextmanager
def placed(windows: Windows | None) -> Iterator[None]:
    """Context in which the network is given a tile, in these windows of the whole image."""
    token = _IN_FORCE.set(windows)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def windows_of(start: int, tile: Sequence[int], whole: Sequence[int]) -> dict[int, Window]:
    """The windows of a tile along one side, by the tile's size at each scale.

    A tile at an end of the image is at that end of every scale; any other lies where its first pixel does, to half a
    pixel of the scale.

    Args:
        start: the tile's first pixel.
        tile, whole: the sizes of tile and image at every scale, finest first (RestorationNetwork.sides).
    """
    found: dict[int, Window] = {}
    for size, full in zip(tile, whole, strict=True):
        at = full - size if start + tile[0] >= whole[0] else round(start * full / whole[0])
        found.setdefault(size, Window(min(max(at, 0), full - size), full))
    return found
