"""The degradations of images (MATLAB's bicubic reduction, JPEG, Gaussian noise) and conversions of their colours.

Images are uint8, (H, W) for grey or (H, W, 3) for RGB. Only NumPy and Pillow (or pillow-simd, whose pixels are the
same) are used, so that data preparation, training, evaluation and restoration share one definition.
"""

import hashlib
import io
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from PIL import Image as Pillow

from scn.imaging.tasks import Channels, Degradation, Task

Image = NDArray[np.uint8]

FIXED_POINT_FACTORS = (2, 3, 4, 8)
"""Factors n at which enlarging by n and reducing by 1/n in the fixed-point arithmetic of Pillow (22 bits) and of
pillow-simd (14 to 18 bits) gives exact values (proof: tests/scn/imaging/test_fixed_point.py). At 5, 6 and 7 up to 1 %
of pillow-simd's values are off by 1."""

Edges = Literal["mirror", "replicate"]
"""How a resize goes on beyond the edges of an image: `mirror` as MATLAB's imresize does now (the edge pixel stands
twice), `replicate` as an older one did, which repeated the edge pixel."""

_WIDTH, _HEIGHT = 0, 1  # the axes in Pillow's order
_FLIP = {_WIDTH: Pillow.Transpose.FLIP_LEFT_RIGHT, _HEIGHT: Pillow.Transpose.FLIP_TOP_BOTTOM}

_BLOCK = 2**16  # float64 values that a pass of _resize_float64 works on at a time: they fit into a core's cache


def modcrop(image: Image, scale: int) -> Image:
    """Leaves out rows at the bottom and columns at the right so that height and width are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def bicubic_resize(image: Image, scale: Fraction, edges: Edges = "mirror") -> Image:
    """MATLAB's `imresize(image, scale, 'bicubic')`, with antialiasing where it reduces: bit for bit, at any scale.

    Where `scale` is no power of two and its numerator times its denominator is even (1/6, 2/3), a few values lie
    exactly between two integers; they are rounded as float64 arithmetic, in the order of imresize's source, gives them.

    Args:
        image: (H, W) or (H, W, 3), of any size but 0.
        scale: above 0; a fraction, because in floating point the new size could come out a pixel larger.
        edges: see Edges; only the outermost two pixels of an enlargement's input or a reduction's result depend on it.
    Returns:
        (ceil(H*scale), ceil(W*scale)), or the same with 3 channels.
    Raises:
        ValueError: if the image is empty or the scale is not above 0.
    """
    height, width = image.shape[:2]
    if scale <= 0 or not image.size:
        raise ValueError(f"an image of {width}x{height} pixels can't be resized by {scale}")
    if not _fixed_point_serves(scale, height, width):
        return _resize_float64(_resize_float64(image, 0, scale, edges), 1, scale, edges)
    image = np.ascontiguousarray(image)
    if scale > 1 or image[0].size % 4:
        return np.array(bicubic_resize_pillow(_as_pillow(image), scale, edges))
    # Along the height every byte is resized alike, so rows may pass for pixels of four bytes, which Pillow takes as
    # they lie in memory: RGB would be copied, and single bytes are slow in pillow-simd.
    rows = np.asarray(_resize_axis(_as_pillow(image.reshape(height, -1, 4)), _HEIGHT, scale, edges))
    return np.array(_resize_axis(_as_pillow(rows.reshape(-1, *image.shape[1:])), _WIDTH, scale, edges))


def bicubic_resize_pillow(image: Pillow.Image, scale: Fraction, edges: Edges = "mirror") -> Pillow.Image:
    """The resize of bicubic_resize from Pillow image to Pillow image, without a conversion to an array.

    Args:
        image: mode L or RGB, with sides that are multiples of the scale's denominator.
        scale: n or 1/n, where n is one of FIXED_POINT_FACTORS.
    Raises:
        ValueError: if the mode, the size or the scale is another.
    """
    if image.mode not in ("L", "RGB") or not _fixed_point_serves(scale, image.height, image.width):
        raise ValueError(
            f"an image of mode {image.mode} and {image.width}x{image.height} pixels can't be resized by {scale} in "
            "fixed point: use bicubic_resize"
        )
    return _resize_axis(_resize_axis(image, _HEIGHT, scale, edges), _WIDTH, scale, edges)


def bicubic_downscale(image: Image, scale: int, edges: Edges = "mirror") -> Image:
    """MATLAB's `imresize(image, 1/scale, 'bicubic')`, bit for bit.

    Args:
        image: (H, W) or (H, W, 3), H and W multiples of `scale`.
        edges: see Edges.
    Returns:
        (H/scale, W/scale) or (H/scale, W/scale, 3).
    Raises:
        ValueError: if a side is no multiple of `scale` (see modcrop).
    """
    height, width = image.shape[:2]
    if height % scale or width % scale or not image.size:
        raise ValueError(f"an image of {width}x{height} pixels can't be reduced by {scale}: use modcrop first")
    return bicubic_resize(image, Fraction(1, scale), edges)


def bicubic_upscale(image: Image, scale: int, edges: Edges = "mirror") -> Image:
    """MATLAB's `imresize(image, scale, 'bicubic')`, bit for bit: the papers' baseline.

    Args:
        image: (H, W) or (H, W, 3).
        edges: see Edges.
    Returns:
        (H*scale, W*scale) or (H*scale, W*scale, 3).
    """
    return bicubic_resize(image, Fraction(scale), edges)


def jpeg(image: Image, quality: int) -> Image:
    """The image after compression to a baseline JPEG by Pillow, decoded again.

    Args:
        image: (H, W), luma or grey; or (H, W, 3), RGB, whose chroma is stored at half the resolution (4:2:0), the
            default of Pillow and of MATLAB's imwrite.
        quality: 1..100, on the scale of the Independent JPEG Group that MATLAB uses too.
    Raises:
        ValueError: if the quality is not in 1..100.
    """
    if not 1 <= quality <= 100:  # Pillow takes 0 for "its default" and anything above for 100
        raise ValueError(f"JPEG's quality lies in 1..100, not {quality}")
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Pillow.open(file))


def noise(shape: tuple[int, ...], sigma: float, generator: Generator) -> NDArray[np.float32]:
    """Gaussian noise, float32, of standard deviation `sigma` where 255 is white; it is added without clipping."""
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(sigma)


def evaluation_noise(name: str, shape: tuple[int, ...], sigma: float, seed: int = 0) -> NDArray[np.float32]:
    """Gaussian noise, float32, that is the same in every evaluation of an image: a function of name, sigma and seed.

    Args:
        name: the image's name in its corpus.
        shape: the image's shape.
        sigma: standard deviation, where 255 is white.
        seed: 0 for published figures; other seeds show how much a figure depends on this one draw.
    """
    # Seed 0 is left out, so that figures measured before there were seeds stay what they are.
    parts = [name, repr(float(sigma))] + ([str(seed)] if seed else [])
    key = hashlib.sha256("\n".join(parts).encode()).digest()
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
    """MATLAB's rgb2gray: (H, W, 3) -> (H, W), full range 0..255, rounded."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    return _rounded(0.298936021293776 * red + 0.587043074451121 * green + 0.114020904255103 * blue)


def to_channels(image: Image, channels: Channels) -> Image:
    """Converts a photograph, grey (H, W) or RGB (H, W, 3), to the channels of a task's target.

    Args:
        channels: "rgb" (grey is repeated three times), "grey" (as rgb_to_grey) or "luma" (as rgb_to_luma, rounded; a
            grey photograph is taken as it is).
    Returns:
        (H, W, 3) for `rgb`, otherwise (H, W).
    """
    return _TO_CHANNELS[channels](image)


def degrade(image: Image, task: Task, level: int, edges: Edges = "mirror") -> Image | None:
    """The degraded image that is stored beside a target; None for denoising, whose noise is made while training.

    Args:
        image: the target, as to_channels makes it; for super-resolution with sides that are multiples of the scale.
        level: strength of the degradation: scale factor or JPEG quality.
        edges: see Edges; it counts for super-resolution only.
    """
    return _DEGRADE[task.degradation](image, level, edges) if task.stored else None


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Converts values where 0 is black and 1 is white to 8 bits: clipped to [0, 1], times 255, rounded.

    Ties go to the even value, as in the PyTorch code of the SCN paper. MATLAB's uint8() rounds them away from
    zero; no network's output lies on a tie often enough to change a printed digit.
    """
    # In double precision, so that k/255 in float32 is always k again.
    return np.rint(np.clip(image, 0, 1) * np.float64(255)).astype(np.uint8)


_TO_CHANNELS: Mapping[Channels, Callable[[Image], Image]] = {
    "rgb": lambda image: np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image,
    "grey": lambda image: image if image.ndim == 2 else rgb_to_grey(image),
    # A grey photograph keeps its full range: squeezed into 16..235, its PSNR would be 0.6 dB too high.
    "luma": lambda image: image if image.ndim == 2 else _rounded(rgb_to_luma(image)),
}

_DEGRADE: Mapping[Degradation, Callable[[Image, int, Edges], Image]] = {
    "bicubic": bicubic_downscale,
    "jpeg": lambda image, level, edges: jpeg(image, level),
}


def _rounded(values: NDArray[np.float64]) -> Image:
    """Rounds as MATLAB does, halves up."""
    return np.floor(values + 0.5).astype(np.uint8)


def _fixed_point_serves(scale: Fraction, height: int, width: int) -> bool:
    up, down = scale.numerator, scale.denominator
    return min(up, down) == 1 and max(up, down) in FIXED_POINT_FACTORS and height % down == 0 == width % down


def _as_pillow(pixels: Image) -> Pillow.Image:
    """A Pillow image of contiguous (H, W), (H, W, 3) or (H, W, 4); not as RGBA, which Pillow would weight by alpha."""
    mode = {1: "L", 3: "RGB", 4: "RGBX"}[pixels[0, 0].size]
    return Pillow.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)


def _resize_axis(image: Pillow.Image, axis: int, scale: Fraction, edges: Edges) -> Pillow.Image:
    """One pass of imresize in fixed point, at sizes and scales for which _fixed_point_serves is true.

    At the edges Pillow cuts its kernel off, where MATLAB continues the image. The kernel reaches 2*down pixels to each
    side, so only the outermost 2*up pixels of the result see an edge. They are taken from a second, small image: the
    first without its middle, in a frame of what lies beyond the edges. Framing the first itself would cost copying it.
    """
    length, across = image.size[axis], image.size[1 - axis]
    up, down = scale.numerator, scale.denominator
    reach, seen = 2 * down, 2 * up

    def box(start: int, stop: int) -> tuple[int, int, int, int]:
        return (start, 0, stop, across) if axis == _WIDTH else (0, start, across, stop)

    def resize(source: Pillow.Image, start: int, stop: int) -> Pillow.Image:
        size = box(0, (stop - start) * up // down)[2:]
        return source.resize(size, Pillow.Resampling.BICUBIC, box(start, stop))

    if length < 4 * reach:  # there is no middle; and the smallest images are mirrored more than once
        positions = _CONTINUED[edges](np.arange(-reach, length + reach), length)
        return resize(_as_pillow(np.asarray(image).take(positions, 1 - axis)), reach, reach + length)

    framed = Pillow.new(image.mode, box(0, 6 * reach)[2:])
    framed.paste(image.crop(box(0, 2 * reach)), box(reach, 3 * reach))
    framed.paste(image.crop(box(length - 2 * reach, length)), box(3 * reach, 5 * reach))
    for source, edge, target in ((reach, reach, 0), (4 * reach, 5 * reach - 1, 5 * reach)):
        if edges == "mirror":
            beyond = framed.crop(box(source, source + reach)).transpose(_FLIP[axis])
        else:
            beyond = framed.crop(box(edge, edge + 1)).resize(box(0, reach)[2:], Pillow.Resampling.NEAREST)
        framed.paste(beyond, box(target, target + reach))
    ends = resize(framed, reach, 5 * reach)
    result = resize(image, 0, length)
    for source, target in ((0, 0), (ends.size[axis] - seen, result.size[axis] - seen)):
        result.paste(ends.crop(box(source, source + seen)), box(target, target + seen))
    return result


def _resize_float64(image: Image, axis: int, scale: Fraction, edges: Edges) -> Image:
    """One pass of imresize, in float64 and the order of operations of its source (`contributions`, `cubic`).

    Products are added one tap after the other: a matrix product's order of summation would depend on the machine.
    """
    pixels = np.ascontiguousarray(np.swapaxes(image, 0, axis))
    rows = pixels.reshape(len(pixels), -1)
    factor = float(scale)
    shrinking = min(factor, 1.0)
    width = 4 / shrinking
    result = np.empty((math.ceil(len(rows) * scale), rows.shape[1]), np.uint8)
    centre = np.arange(1, len(result) + 1) / factor + 0.5 * (1 - 1 / factor)
    taps = np.floor(centre - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = shrinking * _cubic(shrinking * (centre[:, None] - taps))
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    sources = _CONTINUED[edges](taps.astype(np.int64) - 1, len(rows))
    lines = max(1, _BLOCK // rows.shape[1])
    for start in range(0, len(result), lines):
        block = slice(start, start + lines)
        total = np.zeros(result[block].shape)
        for weight, source in zip(weights[block].T, sources[block].T, strict=True):
            total += weight[:, None] * rows[source]
        result[block] = _rounded(np.clip(total, 0, 255))
    return np.ascontiguousarray(np.swapaxes(result.reshape(-1, *pixels.shape[1:]), 0, axis))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -1/2, as imresize has it; by products, as powers differ from one machine to another."""
    x = np.abs(x)
    square = x * x
    cube = square * x
    inner, outer = 1.5 * cube - 2.5 * square + 1, -0.5 * cube + 2.5 * square - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _mirrored(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Positions on a line of `length` pixels that goes on, both ways, as its own mirror image."""
    positions = positions % (2 * length)
    return np.minimum(positions, 2 * length - 1 - positions)


def _repeated(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Positions on a line of `length` pixels that goes on, both ways, as its last pixel."""
    return np.clip(positions, 0, length - 1)


_CONTINUED: Mapping[Edges, Callable[[NDArray[np.int64], int], NDArray[np.int64]]] = {
    "mirror": _mirrored,
    "replicate": _repeated,
}
