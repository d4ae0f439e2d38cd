"""A network applied to images in host memory: on which device, in which layout and precision."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scn.inference.precision import Precision, autocast


def prepare(network: nn.Module, device: torch.device | str | None = None) -> nn.Module:
    """The network in eval mode, on `device` (None: a GPU if there is one), in channels_last; changed in place."""
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return network.eval()


def apply(
    function: Callable[[Tensor], Tensor],
    images: NDArray[np.float32],
    device: torch.device,
    precision: Precision = "float32",
) -> NDArray[np.float32]:
    """A network, or a function of one, applied without gradients.

    Args:
        function: maps (N, C, H, W) to (N, C, sH, sW) on `device`.
        images: (N, H, W, C), 0 is black, 1 is white.
        precision: see scn.inference.precision; the result is float32 all the same.
    Returns:
        (N, sH, sW, C) in host memory, not clipped.
    """
    # (N, H, W, C) in memory seen as (N, C, H, W) is channels_last without a copy.
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    with torch.inference_mode(), autocast(device, precision):
        y = function(x)
    return y.float().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights lie; the CPU if it has none."""
    return next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
