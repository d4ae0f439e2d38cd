"""Applies networks to images in host memory: device, memory layout and precision."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scn.inference.precision import Precision, autocast, exact


def prepare(network: nn.Module, device: torch.device | str | None = None) -> nn.Module:
    """Puts a network into eval mode, on `device` (None: a GPU if there is one), in channels_last; returns it."""
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return network.eval()


def apply(
    function: Callable[[Tensor], Tensor],
    images: NDArray[np.float32],
    device: torch.device,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """Applies a network, or a function of one, to images, without gradients.

    Args:
        function: maps (N, C, H, W) to (N, C, sH, sW) on `device`.
        images: (N, H, W, C), 0 is black, 1 is white.
        precision: of the computation, see scn.inference.precision; the result is float32 in any case.
    Returns:
        (N, sH, sW, C), float32 in host memory, not clipped.
    """
    # (N, H, W, C) in memory seen as (N, C, H, W) is channels_last without a copy.
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    with torch.inference_mode(), exact(), autocast(device, precision):
        y = function(x)
    return y.float().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def device_of(network: nn.Module) -> torch.device:
    """Returns the device of the network's weights; the CPU if it has none."""
    return next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
