"""Two convolutions with a rectifier between them, in bands of rows that stay in a processor's cache."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BAND_BYTES = 8 * 2**20
"""Of what lies between the two convolutions: a part of a last-level cache, and less than what an allocator gives back
to the system after every use, whose pages would have to be cleared again."""


def in_bands(first: nn.Conv2d, second: nn.Conv2d, x: Tensor) -> Tensor:
    """second(relu(first(x))), two 3x3 convolutions that keep height and width: (N, C, H, W) -> (N, U, H, W).

    Without gradients on a CPU, bands of rows are finished one after the other: the same values, and the wide tensor
    between the convolutions, the largest of the network, is never there as a whole.
    """
    height = x.shape[-2]
    rows = max(BAND_BYTES // (x.shape[0] * first.out_channels * x.shape[-1] * x.element_size()), 8)
    if torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling() or height <= rows:
        return second(F.relu(first(x)))
    bands = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        # A band sees two rows more on either side; where the image ends, every convolution sees a row of zeros.
        frame = (0, 0, int(top == 0), int(bottom == height))
        band = F.pad(x[:, :, max(top - 2, 0) : bottom + 2], frame)
        wide = F.conv2d(band, first.weight, first.bias, padding=(0, 1)).relu_()
        bands.append(F.conv2d(F.pad(wide, frame), second.weight, second.bias, padding=(0, 1)))
    return torch.cat(bands, dim=2)
