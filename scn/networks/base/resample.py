"""Resampling: bilinear with aligned corners between two sizes, and MATLAB's bicubic enlargement."""

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from scn.networks.base.windows import Window, Windows, in_force


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resampling of x (N, C, H, W) to (N, C, height, width), with aligned corners.

    It is `F.interpolate`, except where a gradient is needed on a GPU, where PyTorch's backward is not deterministic, or
    under torch.compile, where it fails in PyTorch 2.13: there it is bilinear_by_products. Of a tile of an image it
    computes what that part of the whole would be (scn.networks.base.windows).
    """
    if (height, width) == x.shape[-2:]:
        return x
    if not torch.compiler.is_compiling() and (windows := in_force()):  # tiles are not compiled
        return _in_windows(x, height, width, windows)
    if torch.is_grad_enabled() and (x.device.type != "cpu" or torch.compiler.is_compiling()):
        return bilinear_by_products(x, height, width)
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


def _in_windows(x: Tensor, height: int, width: int, windows: Windows) -> Tensor:
    """`bilinear` of a part of a larger image to the same part of the resampled one."""
    y = x.permute(0, 2, 3, 1).float()  # channels last in memory: rows and pixels are contiguous
    for dim, size, placed in ((1, height, windows.rows), (2, width, windows.columns)):
        first, second, weight = _places(y.shape[dim], size, placed[y.shape[dim]], placed[size], x.device)
        weight = weight.view((1, -1, 1, 1) if dim == 1 else (1, 1, -1, 1))
        y = y.index_select(dim, first).lerp_(y.index_select(dim, second), weight)
    return y.to(x.dtype).permute(0, 3, 1, 2)


@lru_cache(1024)  # every block of a network asks for the same ones, and most tiles of an image; the next one has others
def _places(
    size: int, new_size: int, window: Window, new_window: Window, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels that each new pixel lies between, and how far it is from the first to the second.

    Beyond the tile its last pixel stands for what it does not have.
    """
    position = torch.arange(new_window.start, new_window.start + new_size, dtype=torch.float64)
    position = position * ((window.whole - 1) / max(new_window.whole - 1, 1)) - window.start
    position = position.clamp(0, size - 1)
    first = position.floor().long().clamp(max=max(size - 2, 0))
    second = (first + 1).clamp(max=size - 1)
    return first.to(device), second.to(device), (position - first).float().to(device)


def bilinear_by_products(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resampling by two matrix products: `bilinear` to 5e-6 in float32, with a deterministic backward."""
    n, c, h, w = x.shape
    rows, columns = _weights(n, h, height, x), _weights(n * height, w, width, x)
    # Channels last in memory: both products read and write contiguous rows.
    y = rows.bmm(x.permute(0, 2, 3, 1).reshape(n, h, w * c))
    y = columns.bmm(y.view(n * height, w, c))
    return y.view(n, height, width, c).permute(0, 3, 1, 2)


def _weights(times: int, size: int, new_size: int, like: Tensor) -> Tensor:
    """The matrix (new_size, size) of bilinear weights, `times` times over in the same memory."""
    make = _matrices if torch.compiler.is_compiling() else _kept_matrices
    return make(times, size, new_size, like.dtype, like.device)


def _matrices(times: int, size: int, new_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    position = torch.arange(new_size, device=device, dtype=torch.float32)
    position = position * ((size - 1) / max(new_size - 1, 1))
    grid = torch.arange(size, device=device, dtype=torch.float32)
    matrix = (1 - (position[:, None] - grid[None, :]).abs()).clamp_(min=0).to(dtype)
    return matrix.expand(times, -1, -1)


@cache  # a training has few sizes, and asks for them in every block of every step
def _kept_matrices(times: int, size: int, new_size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return _matrices(times, size, new_size, dtype, device)


def bicubic(x: Tensor, scale: int) -> Tensor:
    """MATLAB's `imresize(x, scale, 'bicubic')` without its rounding: (N, C, H, W) -> (N, C, sH, sW).

    Keys' kernel with a = -1/2, the image mirrored at its borders (scn.imaging.degradation.bicubic_upscale); the bicubic
    of `F.interpolate` has a = -3/4 and repeats the border. Only sums and products by numbers are used, which autocast
    and TF32 leave in float32: the image passes through a skip connection, where 8 bits of mantissa would be seen.
    """
    if scale == 1:
        return x
    return _enlarge_rows(_enlarge_rows(x.mT, scale).mT, scale)


def _enlarge_rows(x: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement along the last dimension."""
    size = x.shape[-1]
    # All on the device: nothing may be copied there while a step is recorded (scn.training.gradients).
    phases = torch.arange(scale, dtype=torch.float64, device=x.device)
    offset = (phases + 0.5) / scale - 0.5  # from an input pixel to its output pixels
    weights = _cubic(offset[None, :] - torch.arange(-2, 3, device=x.device)[:, None]).to(x.dtype)
    place = torch.arange(-2, size + 2, device=x.device) % (2 * size)
    mirrored = x[..., torch.minimum(place, 2 * size - 1 - place)]
    pixels = mirrored[..., :size, None] * weights[0]
    for tap in range(1, 5):
        pixels = pixels + mirrored[..., tap : tap + size, None] * weights[tap]
    return pixels.flatten(-2)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2."""
    x = x.abs()
    inner, outer = (1.5 * x - 2.5) * x**2 + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return inner.where(x <= 1, outer.where(x <= 2, 0.0))
