"""Restores the pixels of a photograph, of any size, with a network."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scn.core import memory
from scn.core.errors import UserError
from scn.imaging.degradation import to_uint8
from scn.imaging.image_io import Photograph
from scn.imaging.resize import resized
from scn.imaging.tasks import OnColour
from scn.imaging.tiles import TILE
from scn.inference.apply import apply, device_of
from scn.inference.ensemble import self_ensemble
from scn.inference.memory import SMALLEST_TILE, economical, tile_for
from scn.inference.precision import Precision
from scn.inference.tiled import margin_of, restore_tiled, step_of
from scn.networks.base.resample import bicubic

SMALLEST = 8
"""Shortest side, in pixels, of an image to restore: in a smaller one a network sees more padding than picture."""

Floats = NDArray[np.float32]
Network = Callable[[Floats], Floats]
"""A function from float32 images (N, H, W, C) to restored ones (N, sH, sW, C); 0 is black, 1 is white."""
Chroma = Literal["restore", "keep"]
Done = Callable[[int], object]
"""Is called with the number of input pixels that have been restored since its last call."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a photograph is restored."""

    tile: int | None = None
    """A photograph of more than tile x tile pixels is restored in parts; None: as large as memory allows, or a little
    smaller where fewer pixels are then computed twice."""
    largest_tile: int = TILE
    """Without `tile`, the side of the largest parts: small ones tell of progress, and can be ended, more often."""
    self_ensemble: bool = False
    """The mean over the 8 flips and rotations, in 8 times the time (scn.inference.ensemble)."""
    precision: Precision | None = None
    """The precision of the computation; None: bfloat16 where the processor is fast in it and 8 bits come out."""
    chroma: Chroma = "restore"
    """keep: a one-channel network restores the luma only, in a third of the time, and the colours stay."""
    strength: float = 1.0
    """0: the input (enlarged by bicubic interpolation), 1: the result; between them a mixture."""


def restore_photograph(
    photograph: Photograph,
    network: nn.Module,
    architecture: Mapping[str, Any],
    on_colour: OnColour,
    options: Options | None = None,
    *,
    name: str = "the image",
    model: str = "the network",
    done: Done = lambda pixels: None,
    whole: Callable[[Tensor], Tensor] | None = None,
) -> Photograph:
    """Restores pixels in host memory; transparency is enlarged by bicubic interpolation, the type stays.

    A tile that memory does not suffice for is halved, until it does or SMALLEST_TILE is reached.

    Args:
        network, architecture: the network, whose `scale` is its upscaling factor, and what it was built from. Where its
            weights are not float32, it is computed in their type, whatever options.precision says.
        on_colour: how the network is applied to colour and grey photographs, see scn.imaging.tasks.Task.on_colour.
        name, model: what errors call the image and the network.
        done: counts pixels; if a tile is halved they are counted anew.
        whole: the network compiled, which knows nothing of tiles: applied where there is one; None: the network.
    Raises:
        UserError: if a side is shorter than SMALLEST, the network's result is not finite, or memory runs out.
    """
    options = options or Options()
    height, width, colours = photograph.pixels.shape
    check_size(width, height, name)
    scale = int(getattr(network, "scale", 1))
    # The result, and what its encoder makes of it; a mean over 8 results is one of float32, and the next one.
    for_value = 3 * photograph.pixels.itemsize + (8 if options.self_ensemble else 0)
    memory.require(
        photograph.pixels.size * scale**2 * for_value, f"{name} becomes {width * scale}x{height * scale} pixels"
    )
    if options.chroma == "keep" and on_colour == "each":
        on_colour = "luma"
    precision: Precision = options.precision or ("bfloat16" if photograph.white == 255 else "float32")
    planes = colours if on_colour == "each" else 1
    tile = options.tile or min(options.largest_tile, tile_for(architecture, planes, device_of(network), precision))
    if not options.tile and height * width > tile**2:
        sampled = _as_float32(network)
        tile = economical(tile, height, width, margin_of(sampled), step_of(sampled))
    if _type_of(network) != torch.float32:
        precision = "float32"  # autocast would take another type than the weights'
    settle = replace(options, precision=precision)
    while True:
        try:
            pixels = _restored(photograph, network, on_colour, scale, settle, tile, name, model, done, whole)
            break
        except Exception as error:
            if not memory.ran_out(error):
                raise
        if tile <= SMALLEST_TILE:
            raise UserError(
                f"{name} needs more memory than there is, even in tiles of {tile} pixels: end other programs, or cut "
                "the image into parts."
            )
        tile = max(SMALLEST_TILE, tile // 2)
    alpha = photograph.alpha
    if alpha is not None:
        alpha = resized(alpha, Fraction(scale))
    return replace(photograph, pixels=pixels, alpha=alpha)


def check_size(width: int, height: int, name: str) -> None:
    """Raises UserError, which calls the image `name`, if a side is shorter than SMALLEST."""
    if min(width, height) < SMALLEST:
        raise UserError(f"{name} is {width}x{height} pixels: give an image of at least {SMALLEST}x{SMALLEST}.")


def _restored(
    photograph: Photograph,
    network: nn.Module,
    on_colour: OnColour,
    scale: int,
    options: Options,
    tile: int,
    name: str,
    model: str,
    done: Done,
    compiled: Callable[[Tensor], Tensor] | None,
) -> NDArray[Any]:
    height, width, _ = photograph.pixels.shape
    device, precision, white = device_of(network), options.precision or "float32", photograph.white
    whole, own = height * width <= tile**2, _type_of(network)
    applied = network if compiled is None or not whole else compiled

    def function(x: Tensor) -> Tensor:
        x = x.to(own)
        return self_ensemble(applied, x) if whole and options.self_ensemble else applied(x)

    def run(batch: Floats) -> Floats:
        restored = apply(function, batch, device, precision)
        if not np.isfinite(restored).all():
            raise UserError(f"{model} gives values that are not finite for {name}: publish or import the model again.")
        return restored

    def restore(pixels: NDArray[Any]) -> Floats:
        part = np.divide(pixels, white, dtype=np.float32)
        restored = _ON_COLOUR[on_colour](run, part)
        if options.strength == 1:
            return restored
        before = bicubic(torch.from_numpy(part.transpose(2, 0, 1)[None]), scale)[0].numpy().transpose(1, 2, 0)
        return before + np.float32(options.strength) * (restored.clip(0, 1) - before)

    return restore_tiled(
        _as_float32(network),
        restore,
        photograph.pixels,
        scale,
        _FINISH[white],
        tile=tile,
        ensemble=options.self_ensemble and not whole,
        done=done,
    )


def _type_of(network: nn.Module) -> torch.dtype:
    return next((parameter.dtype for parameter in network.parameters()), torch.float32)


_TWINS: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def _as_float32(network: nn.Module) -> nn.Module:
    """The network, or a copy of which tiles learn how far it sees; in its own precision rounding would hide that."""
    if _type_of(network) == torch.float32:
        return network
    if network not in _TWINS:
        _TWINS[network] = deepcopy(network).float()
    return _TWINS[network]


def to_uint16(image: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Converts values of [0, 1] to 16 bits, and clips what is outside."""
    return np.rint(image.clip(0, 1) * np.float32(65535)).astype(np.uint16)


def _to_float32(image: NDArray[np.floating]) -> Floats:
    return image.clip(0, 1).astype(np.float32, copy=False)


_FINISH: Mapping[int, Callable[[Floats], NDArray[Any]]] = {255: to_uint8, 65535: to_uint16, 1: _to_float32}
"""By the value of white, what makes pixels of a network's result."""


def _rgb(network: Network, image: Floats) -> Floats:
    """Applies a 3-channel network; a grey image goes in three times, and the mean comes out."""
    if image.shape[-1] == 3:
        return network(image[None])[0]
    return network(np.repeat(image, 3, axis=-1)[None])[0].mean(axis=-1, keepdims=True)


def _each(network: Network, image: Floats) -> Floats:
    """Applies a 1-channel network to every channel by itself, as one batch."""
    return network(image.transpose(2, 0, 1)[..., None])[..., 0].transpose(1, 2, 0)


def _luma(network: Network, image: Floats) -> Floats:
    """Applies a 1-channel network to the luma; chroma stays.

    The luma is JPEG's own, full-range BT.601: quantised there, a real JPEG's artifacts have the size that those of the
    training images have, whose luma was compressed as it is. Changing Y alone adds the same to R, G and B.
    """
    if image.shape[-1] == 1:
        return network(image[None])[0]
    luma = (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return image + (network(luma[None])[0] - luma)


_ON_COLOUR: Mapping[OnColour, Callable[[Network, Floats], Floats]] = {"rgb": _rgb, "each": _each, "luma": _luma}
