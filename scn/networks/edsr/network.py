"""EDSR (Lim, Son, Kim, Nah, Lee 2017, section 3.2)."""

from torch import Tensor, nn

from scn.networks.base.layers import IMAGE_MEAN, RestorationNetwork, conv, prime_factors
from scn.networks.base.residual import ResidualBlock
from scn.networks.edsr.config import EdsrConfig

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of DIV2K's training images, R, G and B, as the authors' code has it."""


class EDSR(RestorationNetwork):
    """EDSR (Lim et al. 2017, section 3.2): (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

        y = tail(up(h + body(h))), h = head(x)

    The body is `blocks` residual blocks and a convolution; up is a convolution and a pixel shuffle for each prime
    factor of s. With config.mean the mean 1/2 is subtracted from every channel, as in SCN, or DIV2K's, as in the paper.
    """

    def __init__(self, config: EdsrConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        units = config.units
        self.head = conv(channels, units, 3)
        body = [ResidualBlock(units, scaling=config.residual_scaling) for _ in range(config.blocks)]
        self.body = nn.Sequential(*body, conv(units, units, 3))
        self.up = Upsampler(units, scale)
        self.tail = conv(units, channels, 3)
        self.mean: float | list[float] = list(DIV2K_MEAN) if config.mean == "div2k" else IMAGE_MEAN

    def restore(self, image: Tensor) -> Tensor:
        mean: Tensor | float = self.mean if isinstance(self.mean, float) else image.new_tensor(self.mean)[:, None, None]
        features = self.head(image - mean)
        restored: Tensor = self.tail(self.up(features + self.body(features)))
        return restored + mean


class Upsampler(nn.Sequential):
    """Enlargement (N, U, H, W) -> (N, U, sH, sW): a convolution and a pixel shuffle for each prime factor of s.

    So x4 is x2 twice (Lim et al. 2017, section 3.2), and at scale 1 there is no layer.
    """

    def __init__(self, units: int, scale: int) -> None:
        layers: list[nn.Module] = []
        for factor in prime_factors(scale):
            layers += [conv(units, units * factor**2, 3), nn.PixelShuffle(factor)]
        super().__init__(*layers)
