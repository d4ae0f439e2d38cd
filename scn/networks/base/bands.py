"""Computes two convolutions with a ReLU between them in bands of rows that stay in a CPU's cache."""

import torch
from torch import Tensor, nn

BAND_BYTES = 16 * 2**20
"""Bytes of a band between the two convolutions, which fit into a large cache; small bands compute more rows twice."""


def in_bands(first: nn.Conv2d, second: nn.Conv2d, x: Tensor) -> Tensor:
    """Computes second(relu(first(x))), 3x3 convolutions that keep height and width: (N, C, H, W) -> (N, U, H, W).

    On a CPU without gradients it computes one band of rows after the other: the values are the same, but the tensor
    between the convolutions, the largest of the network, is never in memory as a whole.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling():
        return second(first(x).relu_())  # in place: a convolution does not need its result again
    n, _, height, width = x.shape
    rows = max(BAND_BYTES // (n * first.out_channels * width * x.element_size()), 8)
    result = x.new_empty(0)
    for top in range(0, height, rows):
        # Two rows more on either side: at the edge of a band the convolutions see zeros instead of its neighbours.
        start, bottom = max(top - 2, 0), min(top + rows, height)
        band = second(first(x[:, :, start : bottom + 2]).relu_())
        if bottom - top == height:
            return band
        if top == 0:
            result = torch.empty_like(band[:, :, :1].expand(-1, -1, height, -1), memory_format=_layout(x))
        result[:, :, top:bottom] = band[:, :, top - start : bottom - start]
    return result


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
