"""EDSR (Lim, Son, Kim, Nah, Lee 2017, section 3.2)."""

from torch import Tensor, nn

from scn.networks.base.layers import IMAGE_MEAN, RestorationNetwork, conv, prime_factors
from scn.networks.base.residual import ResidualBlock
from scn.networks.edsr.config import EdsrConfig


class EDSR(RestorationNetwork):
    """EDSR (Lim et al. 2017, section 3.2): (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

        y = tail(up(h + body(h))), h = head(x)

    The body is `blocks` residual blocks and a convolution; up is a convolution and a pixel shuffle for each prime
    factor of s. The mean 1/2 is subtracted from every channel, as in SCN; the paper subtracts DIV2K's.
    """

    def __init__(self, config: EdsrConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        units = config.units
        self.head = conv(channels, units, 3)
        body = [ResidualBlock(units, scaling=config.residual_scaling) for _ in range(config.blocks)]
        self.body = nn.Sequential(*body, conv(units, units, 3))
        self.up = Upsampler(units, scale)
        self.tail = conv(units, channels, 3)

    def restore(self, image: Tensor) -> Tensor:
        features = self.head(image - IMAGE_MEAN)
        restored: Tensor = self.tail(self.up(features + self.body(features)))
        return restored + IMAGE_MEAN


class Upsampler(nn.Sequential):
    """Enlargement (N, U, H, W) -> (N, U, sH, sW): a convolution and a pixel shuffle for each prime factor of s.

    So x4 is x2 twice (Lim et al. 2017, section 3.2), and at scale 1 there is no layer.
    """

    def __init__(self, units: int, scale: int) -> None:
        layers: list[nn.Module] = []
        for factor in prime_factors(scale):
            layers += [conv(units, units * factor**2, 3), nn.PixelShuffle(factor)]
        super().__init__(*layers)
