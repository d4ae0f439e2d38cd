"""SCN as its authors run it: the baseline that benchmarks.model compares with.

It is eager, in NCHW, with one kernel for each operation and weight normalisation live; it computes every scale of the
pyramid to the end, and 1x1 convolutions before resampling. Its function and its weights are those of
scn.networks.scn.network.SCN.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.base.layers import IMAGE_MEAN
from scn.networks.scn.network import SCN, ScaleWiseBlock


class Published(nn.Module):
    """SCN written as published: (N, C, H, W) -> (N, C, sH, sW), with the weights of `network`.

    Args:
        network: has ratio 1/2 and weight normalisation.
    """

    def __init__(self, network: SCN) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        net, height, width = self.network, image.shape[-2], image.shape[-1]
        multiple = 2**net.trunk.scales
        x = image - IMAGE_MEAN
        pyramid = [_conv(net.head, F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate"))]
        for _ in range(1, net.trunk.scales):
            pyramid.append(_resample(pyramid[-1], 0.5))
        for block in net.trunk.blocks:
            assert isinstance(block, ScaleWiseBlock)
            pyramid = _block(block, pyramid)
        features = _conv(net.tail, pyramid[0])[..., :height, :width]
        if net.skip is None:
            return features + x + IMAGE_MEAN
        return F.pixel_shuffle(features + _conv(net.skip, x), net.scale) + IMAGE_MEAN


def _block(block: ScaleWiseBlock, pyramid: list[Tensor]) -> list[Tensor]:
    conv = block.scale_wise
    residuals = [_conv(conv.spatial, F.relu(_conv(block.expand, x))) for x in pyramid]
    last = len(pyramid) - 1
    outputs = []
    for s, (x, r) in enumerate(zip(pyramid, residuals, strict=True)):
        down = _resample(_conv(conv.cross["finer1"], residuals[s - 1]), 0.5) if s > 0 else r
        up = _resample(_conv(conv.cross["coarser1"], residuals[s + 1]), 2) if s < last else r
        outputs.append(x + r + down + up)
    return outputs


def _conv(layer: nn.Module, x: Tensor) -> Tensor:
    """PyTorch's own convolution, with its own weight gradient instead of scn.networks.base.convolution's."""
    assert isinstance(layer, nn.Conv2d)
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.padding)


def _resample(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)
