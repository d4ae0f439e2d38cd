"""Restores a user's images with a trained model: `scn restore IN OUT --model REFERENCE`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from scn.core.errors import UserError
from scn.imaging.degradation import bicubic_upscale, to_uint8
from scn.imaging.image_io import Photograph, check_target, read_photograph, write_photograph
from scn.imaging.tasks import OnColour
from scn.imaging.tiles import TILE, in_tiles
from scn.inference.apply import apply, device_of
from scn.inference.ensemble import self_ensemble

SMALLEST = 8
"""Shortest side, in pixels, of an image to restore: in a smaller one a network sees more padding than picture."""

Floats = NDArray[np.float32]
Network = Callable[[Floats], Floats]
"""A function from float32 images (N, H, W, C) to restored ones (N, sH, sW, C); 0 is black, 1 is white."""


def restore_files(todo: Sequence[tuple[Path, Path]], restore: Callable[[Photograph, str], Photograph]) -> list[Path]:
    """Restores image files; each result is written whole or not at all, and replaces a file of its name.

    Colours keep their ICC profile; other metadata is not copied.

    Args:
        todo: (source, target) of each image, as `pairs` returns them.
        restore: restores a photograph; its second argument names it in errors.
    Returns:
        the files written, in the order of `todo`.
    Raises:
        UserError: at the first image that can't be restored; what was finished before stays.
    """
    done: list[Path] = []
    # disable=None: only where there is a terminal
    for source, target in tqdm(todo, unit="image", leave=False, disable=None):
        try:
            write_photograph(target, restore(read_photograph(source), str(source)))
        except UserError as error:
            if len(todo) == 1:
                raise
            raise UserError(f"{str(error).rstrip('.')} ({len(done)} of {len(todo)} images were restored).") from None
        done.append(target)
    return done


def restore_photograph(
    photograph: Photograph,
    network: nn.Module,
    on_colour: OnColour,
    scale: int,
    *,
    tile: int = TILE,
    ensemble: bool = False,
    name: str = "the image",
    model: str = "the network",
) -> Photograph:
    """Restores pixels in host memory; transparency is enlarged by bicubic interpolation.

    Args:
        on_colour: how the network is applied to colour and grey photographs, see scn.imaging.tasks.Task.on_colour.
        tile: a photograph of more than tile x tile pixels is restored in parts (scn.imaging.tiles).
        ensemble: the mean over the 8 flips and rotations, in 8 times the time (scn.inference.ensemble).
        name, model: what errors call the image and the network.
    Raises:
        UserError: if a side is shorter than SMALLEST, or the network's result is not finite.
    """
    height, width = photograph.pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(f"{name} is {width}x{height} pixels: give an image of at least {SMALLEST}x{SMALLEST}.")
    device = device_of(network)
    function: Callable[[Tensor], Tensor] = partial(self_ensemble, network) if ensemble else network

    def run(batch: Floats) -> Floats:
        restored = apply(function, batch, device)
        if not np.isfinite(restored).all():
            raise UserError(f"{model} gives values that are not finite for {name}: publish or import the model again.")
        return restored

    def restore_tile(pixels: NDArray[np.uint8]) -> Floats:
        return _ON_COLOUR[on_colour](run, np.divide(pixels, 255, dtype=np.float32))

    alpha = photograph.alpha
    if alpha is not None and scale > 1:
        alpha = bicubic_upscale(alpha, scale)
    pixels = in_tiles(restore_tile, photograph.pixels, scale, to_uint8, tile)
    return Photograph(pixels=pixels, alpha=alpha, icc_profile=photograph.icc_profile)


def _rgb(network: Network, image: Floats) -> Floats:
    """Applies a 3-channel network; a grey image goes in three times, and the mean comes out."""
    if image.shape[-1] == 3:
        return network(image[None])[0]
    return network(np.repeat(image, 3, axis=-1)[None])[0].mean(axis=-1, keepdims=True)


def _each(network: Network, image: Floats) -> Floats:
    """Applies a 1-channel network to every channel by itself."""
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


def pairs(src: Path, dst: Path) -> list[tuple[Path, Path]]:
    """Returns (source, target) of every image to restore, checked before anything is written.

    A file becomes the file `dst`, whose suffix names the format (or dst/<name>.png, where `dst` is a folder); the
    files directly in a folder become dst/<name>.png.

    Raises:
        UserError: if there is nothing to restore, or a target has no known suffix, is a source, or is that of two.
    """
    if not src.exists():
        raise UserError(f"{src} does not exist: name an image or a folder of images.")
    if src.is_dir():
        if dst.exists() and not dst.is_dir():
            raise UserError(f"{src} is a folder and {dst} a file: name a folder for the restored images.")
        sources = sorted(path for path in src.iterdir() if path.is_file() and not path.name.startswith("."))
        if not sources:
            raise UserError(f"{src} holds no images: put the images that you want restored directly into it.")
    else:
        sources = [src]
    to_folder = src.is_dir() or dst.is_dir()
    todo = [(source, dst / f"{source.stem}.png" if to_folder else dst) for source in sources]
    inputs = {source.resolve() for source in sources}
    by_target: dict[Path, Path] = {}
    for source, target in todo:
        check_target(target)
        if (src.is_dir() and src.resolve() == dst.resolve()) or target.resolve() in inputs:
            raise UserError(f"{target} would replace the image it is made from: name another place for the result.")
        if target in by_target:
            raise UserError(f"{source} and {by_target[target].name} would both become {target}: rename one of them.")
        if target.is_dir():
            raise UserError(f"{target} is a folder: name another place for the result.")
        by_target[target] = source
    return todo
