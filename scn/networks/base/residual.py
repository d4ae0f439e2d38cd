"""Residual blocks without batch normalisation, plain and with wide activation. Shapes: N batch, U units."""

from torch import Tensor, nn

from scn.networks.base.bands import in_bands
from scn.networks.base.config import WideConfig
from scn.networks.base.layers import conv
from scn.networks.base.wide import Trunk


class ResidualBlock(nn.Module):
    """Residual block x + a * conv(relu(conv(x))), 3x3 convolutions: (N, U, H, W) -> (N, U, H, W).

    Lim et al. 2017, sections 3.1 and 3.3; with width > 1 and weight normalisation WDSR-A's (Yu et al. 2018, 3.1).

    Args:
        units: U, the block's channels.
        width: channels before the activation, as a multiple of `units`.
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


class Residuals(Trunk):
    """A chain of residual blocks with wide activation: (N, U, H, W) -> (N, U, H, W).

    Args:
        blocks: number of blocks; None: config.blocks.
    """

    def __init__(self, config: WideConfig, *, blocks: int | None = None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(config.units, width=config.width, weight_norm=config.weight_norm)
                for _ in range(config.blocks if blocks is None else blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(x)
        return result
