"""VDSR (Kim, Lee, Lee 2016, section 3.1)."""

from torch import Tensor

from scn.networks.base.enlarged import EnlargedNetwork
from scn.networks.vdsr.config import VdsrConfig


class VDSR(EnlargedNetwork):
    """The enlarged image plus a residual from a chain of 3x3 convolutions (Kim, Lee, Lee 2016, section 3.1).

    (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.
    """

    def __init__(self, config: VdsrConfig, *, channels: int, scale: int) -> None:
        widths = [channels, *[config.units] * (config.layers - 1), channels]
        super().__init__(widths, [3] * config.layers, channels=channels, scale=scale)

    def combine(self, image: Tensor, features: Tensor) -> Tensor:
        return image + features
