"""A network applied to an image of any size, in tiles whose result is that of the whole image."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scn.imaging.tiles import STEP, Place, in_tiles, step_for
from scn.inference.apply import device_of
from scn.inference.ensemble import views
from scn.inference.precision import autocast, exact
from scn.networks.base.layers import RestorationNetwork
from scn.networks.base.windows import Windows, placed, windows_of

Floats = NDArray[np.float32]

LARGEST_MARGIN = 4 * STEP
"""Most pixels that are thrown away at a tile's edge; a network that sees the whole image (instance normalisation) is
as close to the whole's result as this allows."""
_TOLERANCE = 0.1 / 255
"""How far a tile's result may be from the whole's, on an image of noise."""


def restore_tiled(
    network: nn.Module,
    run: Callable[[NDArray[Any]], Floats],
    image: NDArray[Any],
    scale: int,
    finish: Callable[[Floats], NDArray[Any]],
    *,
    tile: int,
    ensemble: bool = False,
    done: Callable[[int], object] = lambda pixels: None,
) -> NDArray[Any]:
    """Restores an image in tiles of `tile` pixels, if it has more than tile x tile of them.

    Every tile is told where it lies in the whole image, so that a feature pyramid is sampled at the whole's places
    (scn.networks.base.windows), and is cut where it lacks what the network sees of its surroundings (margin_of).

    Args:
        network: what `run` applies; it says how it resamples.
        run: restores (h, w, C) to (scale h, scale w, C).
        image, scale, finish, done: as in scn.imaging.tiles.in_tiles.
        ensemble: the mean over the 8 flips and rotations of the whole image, which is kept in float32 meanwhile.
    """
    if not ensemble:
        return _placed_tiles(network, run, image, scale, finish, tile, done)
    total: Any = 0.0
    for there, back in views():
        view = there(image)
        counted = Portion(done, 1, 8)
        total = total + back(_placed_tiles(network, run, view, scale, lambda restored: restored, tile, counted))
    return finish(total / 8)


class Portion:
    """Counts pixels of which several, or parts of one, count as one."""

    def __init__(self, done: Callable[[int], object], numerator: int, denominator: int) -> None:
        self.done, self.numerator, self.denominator, self.left = done, numerator, denominator, 0

    def __call__(self, pixels: int) -> None:
        whole, self.left = divmod(self.left + pixels * self.numerator, self.denominator)
        self.done(whole)


def _placed_tiles(
    network: nn.Module,
    run: Callable[[NDArray[Any]], Floats],
    image: NDArray[Any],
    scale: int,
    finish: Callable[[Floats], NDArray[Any]],
    tile: int,
    done: Callable[[int], object],
) -> NDArray[Any]:
    height, width = image.shape[:2]

    def restore(part: NDArray[Any], place: Place) -> Floats:
        with placed(_windows(network, part.shape[:2], place, (height, width))):
            return run(part)

    margin = margin_of(network) if height * width > tile**2 else 0
    return in_tiles(restore, image, scale, finish, tile=tile, margin=margin, step=step_of(network), done=done)


def _windows(network: nn.Module, part: tuple[int, ...], place: Place, whole: tuple[int, ...]) -> Windows | None:
    if part == whole or not isinstance(network, RestorationNetwork):
        return None
    return Windows(
        *(
            windows_of(start, network.sides(size), network.sides(full))
            for start, size, full in zip(place, part, whole, strict=True)
        )
    )


def step_of(network: nn.Module) -> int:
    """The pixels at whose multiples the tiles of a network start (scn.imaging.tiles.step_for)."""
    return step_for(network.multiple) if isinstance(network, RestorationNetwork) else STEP


_MARGINS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def margin_of(network: nn.Module) -> int:
    """How far from a tile's edge a network sees that something is missing there, in pixels of the input.

    It is measured on a strip of noise, of several sizes of grain: the result for a part of it against that part of the
    result for all of it. Weights decide it: half the receptive field is the most that it can be, and with many scales
    far more than it is.
    """
    if network not in _MARGINS:
        _MARGINS[network] = _measured(network) if isinstance(network, RestorationNetwork) else STEP
    return _MARGINS[network]


def _measured(network: RestorationNetwork) -> int:
    device = device_of(network)
    step = step_of(network)
    top = -(-2 * LARGEST_MARGIN // step) * step  # where a tile may start
    height = 2 * top
    grains = np.random.default_rng(0)
    strip = sum(
        np.kron(grains.random((network.channels, -(-height // size), 64 // size)), np.ones((size, size)))[:, :height]
        for size in (1, 4, 16)
    )
    whole = torch.from_numpy(np.asarray(strip, np.float32)[None] / 3).to(device)
    part = whole[:, :, top:]
    windows = _windows(network, tuple(part.shape[2:]), (top, 0), tuple(whole.shape[2:]))
    with torch.inference_mode(), exact(), autocast(device, "float32"):  # it is kept: no caller's autocast may decide it
        expected = network(whole)[:, :, network.scale * top :]
        with placed(windows):
            found = network(part)
    off = (found - expected).abs().amax(dim=(0, 1, 3)).reshape(-1, network.scale).amax(dim=1)[:LARGEST_MARGIN]
    wrong: Tensor = (off > _TOLERANCE).nonzero()
    return int(wrong.max()) + 1 + 4 if len(wrong) else 4
