"""MSRResNet (Wang et al. 2018, the network that ESRGAN is compared with; SRResNet of Ledig et al. 2017, changed)."""

import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.base.layers import RestorationNetwork, conv, prime_factors
from scn.networks.base.residual import ResidualBlock
from scn.networks.msrresnet.config import MsrresnetConfig

SLOPE = 0.1
"""Slope of the leaky ReLU for negative values."""


class MSRResNet(RestorationNetwork):
    """SRResNet without batch normalisation: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

        y = last(a(high(up(body(a(first(x))))))) + b(x)

    a is a leaky ReLU, the body residual blocks without a skip past them, up a convolution, a pixel shuffle and a for
    each prime factor of s, b the bilinear enlargement, without aligned corners. All convolutions are 3x3.
    """

    def __init__(self, config: MsrresnetConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        units, self.factors = config.units, prime_factors(scale)
        self.first = conv(channels, units, 3)
        self.body = nn.Sequential(*(ResidualBlock(units) for _ in range(config.blocks)))
        self.up = nn.ModuleList(conv(units, units * factor**2, 3) for factor in self.factors)
        self.high = conv(units, units, 3)
        self.last = conv(units, channels, 3)

    def restore(self, image: Tensor) -> Tensor:
        features = self.body(F.leaky_relu(self.first(image), SLOPE))
        for layer, factor in zip(self.up, self.factors, strict=True):
            features = F.leaky_relu(F.pixel_shuffle(layer(features), factor), SLOPE)
        restored: Tensor = self.last(F.leaky_relu(self.high(features), SLOPE))
        return restored + self._enlarged(image)

    def _enlarged(self, image: Tensor) -> Tensor:
        if self.scale == 1:
            return image
        return F.interpolate(image, scale_factor=self.scale, mode="bilinear", align_corners=False)
