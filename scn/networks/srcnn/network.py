"""SRCNN (Dong, Loy, He, Tang 2016, section 3.1)."""

from scn.networks.base.enlarged import EnlargedNetwork
from scn.networks.srcnn.config import SrcnnConfig


class SRCNN(EnlargedNetwork):
    """Three convolutions: F(Y) = W3 * max(0, W2 * max(0, W1 * Y + B1) + B2) + B3 (Dong et al. 2016, section 3.1).

    Y is the enlarged image: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.
    """

    def __init__(self, config: SrcnnConfig, *, channels: int, scale: int) -> None:
        widths = [channels, config.units, config.units // 2, channels]
        super().__init__(widths, [9, config.kernel, 5], channels=channels, scale=scale)
