"""The references that work at the input's size: EDSR and WDSR. Shapes: N batch, C channels, U units, s scale."""

from torch import Tensor, nn

from scn.networks.base.bands import in_bands
from scn.networks.base.layers import IMAGE_MEAN, RestorationNetwork, Upsampler, conv
from scn.networks.base.wide import Trunk, WideNetwork


class ResidualBlock(nn.Module):
    """x + a * conv(relu(conv(x))), 3x3 convolutions: (N, U, H, W) -> (N, U, H, W).

    Lim et al. 2017, sections 3.1 and 3.3; with width > 1 and weight normalisation WDSR-A's (Yu et al. 2018, 3.1).

    Args:
        width: channels before the activation, times `units`.
        scaling: the factor a.
    """

    def __init__(self, units: int, *, width: int = 1, scaling: float = 1.0, weight_norm: bool = False) -> None:
        super().__init__()
        self.expand = conv(units, units * width, 3, weight_norm=weight_norm)
        self.project = conv(units * width, units, 3, weight_norm=weight_norm)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        residual = in_bands(self.expand, self.project, x)
        return x + (residual if self.scaling == 1 else residual * self.scaling)


class EDSR(RestorationNetwork):
    """Lim, Son, Kim, Nah, Lee 2017, section 3.2: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

        y = tail(up(h + body(h))), h = head(x)

    The body is `blocks` residual blocks and a convolution; up is a convolution and a pixel shuffle for each prime
    factor of s. IMAGE_MEAN is taken for the mean of every channel, as in SCN; the paper takes DIV2K's.

    Args:
        blocks, units: residual blocks, and channels between them.
        residual_scaling: what a block's residual is multiplied by; the paper has 0.1 at 256 units.
    """

    def __init__(self, *, blocks: int, units: int, residual_scaling: float, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        self.head = conv(channels, units, 3)
        body = [ResidualBlock(units, scaling=residual_scaling) for _ in range(blocks)]
        self.body = nn.Sequential(*body, conv(units, units, 3))
        self.up = Upsampler(units, scale)
        self.tail = conv(units, channels, 3)

    def restore(self, image: Tensor) -> Tensor:
        features = self.head(image - IMAGE_MEAN)
        restored: Tensor = self.tail(self.up(features + self.body(features)))
        return restored + IMAGE_MEAN


class Residuals(Trunk):
    """`blocks` residual blocks with wide activation: (N, U, H, W) -> (N, U, H, W)."""

    def __init__(self, *, blocks: int, units: int, width: int, weight_norm: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ResidualBlock(units, width=width, weight_norm=weight_norm) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(x)
        return result


class WDSR(WideNetwork):
    """WDSR-A: Yu et al. 2018, sections 3.1 and 3.4: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    The ancestor of SCN: one level only, and so also its single-scale baseline (SCN paper, table 5).
    """

    make_trunk = Residuals
