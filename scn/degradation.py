"""What spoils an image: MATLAB's bicubic, JPEG and Gaussian noise, and the colours they work in.

Images are uint8, (H, W) for grey or (H, W, 3) for RGB. Only NumPy and Pillow (or pillow-simd, whose pixels are the
same) are used, so that data preparation, training, evaluation and restoration share one definition.
"""

import hashlib
import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from PIL import Image as Pillow

from scn.tasks import Channels, Degradation, Task

Image = NDArray[np.uint8]

_WIDTH, _HEIGHT = 0, 1  # the axes in Pillow's order
_FLIP = {_WIDTH: Pillow.Transpose.FLIP_LEFT_RIGHT, _HEIGHT: Pillow.Transpose.FLIP_TOP_BOTTOM}


def modcrop(image: Image, scale: int) -> Image:
    """Leaves out rows at the bottom and columns at the right until both sides are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def bicubic_downscale(image: Image, scale: int) -> Image:
    """MATLAB's `imresize(image, 1/scale, 'bicubic')`, with antialiasing, bit for bit for scales 2, 3, 4 and 8.

    (At 5, 6 and 7 the fixed-point kernel of pillow-simd moves up to 1 % of the pixels by a level, rarely two.)

    Args:
        image: (H, W) or (H, W, 3), H and W multiples of `scale`.
    Returns:
        (H/scale, W/scale) or (H/scale, W/scale, 3).
    Raises:
        ValueError: if a side is no multiple of `scale` (see modcrop).
    """
    height, width = image.shape[:2]
    if height % scale or width % scale or not image.size:
        raise ValueError(f"an image of {width}x{height} pixels can't be reduced by {scale}: use modcrop first")
    return _resize(image, 1, scale)


def bicubic_upscale(image: Image, scale: int) -> Image:
    """MATLAB's `imresize(image, scale, 'bicubic')`: the papers' baseline; exact where bicubic_downscale is.

    Returns:
        (H*scale, W*scale) or (H*scale, W*scale, 3).
    """
    return _resize(image, scale, 1)


def jpeg(image: Image, quality: int) -> Image:
    """The grey image (H, W) encoded as a baseline JPEG of `quality` (1..100) by Pillow, and decoded."""
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Pillow.open(file))


def noise(shape: tuple[int, ...], sigma: float, generator: Generator) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation `sigma`, in units where 255 is white; it is added without clipping."""
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(sigma)


def evaluation_noise(name: str, shape: tuple[int, ...], sigma: float) -> NDArray[np.float32]:
    """The noise that every evaluation of the image `name` at `sigma` sees; see `noise` for units."""
    key = hashlib.sha256(f"{name}\n{float(sigma)!r}".encode()).digest()
    return noise(shape, sigma, Generator(Philox(key=np.frombuffer(key[:16], dtype="<u8"))))


def rgb_to_luma(rgb: NDArray[np.uint8] | NDArray[np.floating]) -> NDArray[np.float64]:
    """BT.601 luma of the studio range 16..235 (MATLAB rgb2ycbcr), unrounded.

    Args:
        rgb: (H, W, 3), 0..255.
    Returns:
        (H, W) float64.
    """
    # One product after the other: a matrix product's order of summation would depend on the machine.
    red, green, blue = np.moveaxis(np.asarray(rgb, dtype=np.float64), -1, 0)
    return 16.0 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0


def rgb_to_grey(rgb: Image) -> Image:
    """MATLAB's rgb2gray: full range, (H, W, 3) -> (H, W)."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    return _rounded(0.298936021293776 * red + 0.587043074451121 * green + 0.114020904255103 * blue)


def to_channels(image: Image, channels: Channels) -> Image:
    """Turns a photograph, grey (H, W) or RGB (H, W, 3), into a task's target (see tasks.Channels).

    Returns:
        (H, W, 3) for `rgb`, otherwise (H, W).
    """
    return _TO_CHANNELS[channels](image)


def degrade(image: Image, task: Task, level: int) -> Image | None:
    """The degraded version that is stored beside a target; None if the task's is made while training.

    Args:
        image: the target, as to_channels makes it; for super-resolution after modcrop.
        level: see Task.level_name.
    """
    return _DEGRADE[task.degradation](image, level) if task.stored else None


_TO_CHANNELS: Mapping[Channels, Callable[[Image], Image]] = {
    "rgb": lambda image: np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image,
    "grey": lambda image: image if image.ndim == 2 else rgb_to_grey(image),
    # A grey photograph keeps its full range: squeezed into 16..235, its PSNR would be 0.6 dB too high.
    "luma": lambda image: image if image.ndim == 2 else _rounded(rgb_to_luma(image)),
}

_DEGRADE: Mapping[Degradation, Callable[[Image, int], Image]] = {"bicubic": bicubic_downscale, "jpeg": jpeg}


def _rounded(values: NDArray[np.float64]) -> Image:
    """Rounds as MATLAB does, halves up."""
    return np.floor(values + 0.5).astype(np.uint8)


def _resize(image: Image, up: int, down: int) -> Image:
    """Bicubic interpolation by up/down (one of them 1), rounding after each axis, height first, as imresize does."""
    resized = _resize_axis(Pillow.fromarray(np.ascontiguousarray(image)), _HEIGHT, up, down)
    return np.array(_resize_axis(resized, _WIDTH, up, down))


def _resize_axis(image: Pillow.Image, axis: int, up: int, down: int) -> Pillow.Image:
    """One pass of _resize, over an image whose edges are mirrored.

    At the edges Pillow cuts its kernel off, where MATLAB mirrors the image. The kernel reaches 2*down pixels to each
    side, so only the outermost 2*up pixels of the result see an edge. Resizing all of the image and then these two
    strips again, from a mirrored copy of the edges, saves copying the image into a frame.
    """
    length, across = image.size[axis], image.size[1 - axis]
    reach = 2 * down

    def size(along: int) -> tuple[int, int]:
        return (along, across) if axis == _WIDTH else (across, along)

    def box(start: int, stop: int) -> tuple[int, int, int, int]:
        return (start, 0, stop, across) if axis == _WIDTH else (0, start, across, stop)

    def resize(source: Pillow.Image, start: int, along: int) -> Pillow.Image:
        return source.resize(size(along * up // down), Pillow.Resampling.BICUBIC, box=box(start, start + along))

    if length < 2 * reach:  # the strips would overlap, or need more than one mirror image
        pixels = np.asarray(image)
        frame = [(0, 0)] * pixels.ndim
        frame[1 - axis] = (reach, reach)
        return resize(Pillow.fromarray(np.pad(pixels, frame, "symmetric")), reach, length)

    result = resize(image, 0, length)
    for at_end in (False, True):
        edge = image.crop(box(length - 2 * reach, length) if at_end else box(0, 2 * reach))
        if at_end:
            edge = edge.transpose(_FLIP[axis])
        mirrored = Pillow.new(image.mode, size(3 * reach))
        mirrored.paste(edge.crop(box(0, reach)).transpose(_FLIP[axis]), box(0, reach))
        mirrored.paste(edge, box(reach, 3 * reach))
        strip = resize(mirrored, reach, reach)
        end = result.size[axis]
        if at_end:
            result.paste(strip.transpose(_FLIP[axis]), box(end - strip.size[axis], end))
        else:
            result.paste(strip, box(0, strip.size[axis]))
    return result
