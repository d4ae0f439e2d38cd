"""What programs have, NumPy arrays, tensors and Pillow images, as photographs, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scn.core.errors import UserError
from scn.imaging.image_io import Photograph, photograph_of, read_photograph

_SQUARE, _OFF = 16, 0.15
"""Side of the squares whose mean tells an image that is centred at 0 from a noisy one, and how far it may leave [0, 1]:
of noise with sigma 100 (of 255) it does so by 5 standard deviations at most."""

Array = TypeVar("Array", NDArray[np.uint8], NDArray[np.uint16], NDArray[np.floating], Tensor)
"""The kinds of arrays that `by_photographs` takes."""


def of_any_kind(restore: Callable[[Photograph, str], Photograph], image: Any) -> Any:
    """Applies a function of a photograph, and of what errors call it, to what a program has; the kind stays.

    Args:
        image: what `by_photographs` takes, a Pillow image, or the path of a file, of which a Pillow image comes.
    Raises:
        UserError: for an image that can't be read, or anything else.
    """
    if isinstance(image, str | Path):
        return restore(read_photograph(Path(image)), str(image)).image()
    if isinstance(image, Image.Image):
        try:  # it is not loaded before: Pillow forgets then how many bits the values have, the transparent one's, too
            photograph = photograph_of(image)
        except (OSError, SyntaxError) as error:  # Pillow's, of a file that ends too early or is damaged
            raise UserError(f"The image can't be read ({error}): open another copy of its file.") from None
        return restore(photograph, "the image").image(deep=True)
    return by_photographs(lambda photograph: restore(photograph, "the image"), image)


def by_photographs(restore: Callable[[Photograph], Photograph], images: Any) -> Any:
    """Applies a function of photographs to an array or a tensor, of one image or several; the result is of that kind.

    Args:
        restore: photographs of floating point come as float32, with 0 as black and 1 as white.
        images: (H, W), (H, W, C) or (N, H, W, C) as an array, (H, W), (C, H, W) or (N, C, H, W) as a tensor, with 1, 3
            or 4 channels, of uint8, uint16 or floating point.
    Raises:
        UserError: for anything else, or floating point that is not finite, not between -1 and 2, or not about [0, 1]
            in the mean of a square of 16 x 16 pixels, as where black is -0.5.
    """
    if isinstance(images, Tensor):
        of_channels_last = images.detach().cpu()
        if images.is_floating_point():
            of_channels_last = of_channels_last.float()  # NumPy has no bfloat16
        array: Any = of_channels_last.numpy()
        if array.ndim > 2:
            array = np.moveaxis(array, -3, -1)
    else:
        array = images
    _check(array, images)
    if np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32, copy=False)
    batch = array if array.ndim == 4 else array[None]
    joined = np.stack([_restored(restore, image) for image in batch])
    result = joined if array.ndim == 4 else joined[0]
    if not isinstance(images, Tensor):
        return result.astype(images.dtype, copy=False)
    tensor = torch.from_numpy(np.ascontiguousarray(result if result.ndim == 2 else np.moveaxis(result, -1, -3)))
    return tensor.to(images.device, images.dtype)


def _restored(restore: Callable[[Photograph], Photograph], pixels: NDArray[Any]) -> NDArray[Any]:
    colours = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    restored = restore(Photograph(pixels=np.ascontiguousarray(colours), alpha=alpha, icc_profile=None))
    parts: list[Any] = [restored.pixels] if restored.alpha is None else [restored.pixels, restored.alpha[..., None]]
    joined = np.concatenate(parts, axis=-1)
    return joined[..., 0] if pixels.ndim == 2 else joined


def _check(array: Any, given: Any) -> None:
    kinds = "a uint8, uint16 or floating point array (H, W) or (H, W, 3), a tensor (3, H, W), a Pillow image or a path"
    if not isinstance(array, np.ndarray):
        raise UserError(f"An image is {kinds}, not {type(given).__name__}: convert it first.")
    known = array.dtype in (np.uint8, np.uint16) or np.issubdtype(array.dtype, np.floating)
    if not known or array.ndim not in (2, 3, 4) or not len(array):
        raise UserError(f"An image is {kinds}, not {given.dtype} {tuple(given.shape)}: convert it first.")
    if array.ndim > 2 and array.shape[-1] not in (1, 3, 4):
        where = "last" if given is array else "before height and width"
        raise UserError(
            f"An image has 1, 3 or 4 channels {where}, not the shape {tuple(given.shape)}: convert it first."
        )
    if not array.size:  # too small, as whoever restores it says
        return
    if np.issubdtype(array.dtype, np.floating) and not ((array > -1) & (array < 2)).all():  # noise may leave [0, 1]
        raise UserError(
            f"An image of floating point has values in [0, 1], not {array.min():g} to {array.max():g}: divide 8-bit "
            "values by 255 first."
        )
    if np.issubdtype(array.dtype, np.floating) and not _about_0_to_1(array if array.ndim == 4 else array[None]):
        raise UserError(
            f"An image of floating point has values in [0, 1], not {array.min():g} to {array.max():g}: where black is "
            "-0.5 add 0.5, or scale the values as they were scaled, backwards."
        )


def _about_0_to_1(images: NDArray[np.floating]) -> bool:
    """Whether the means of squares of (N, H, W, ...) lie about [0, 1], where noise evens out."""
    height, width = images.shape[1:3]
    down, across = (max(min(_SQUARE, side), 1) for side in (height, width))
    if down * across < _SQUARE:  # too few pixels for noise to even out
        return True
    cut = images[:, : height // down * down, : width // across * across]
    squares = cut.reshape(len(cut), height // down, down, width // across, across, -1)
    means = squares.mean(axis=(2, 4), dtype=np.float32)
    return bool(((means > -_OFF) & (means < 1 + _OFF)).all())
