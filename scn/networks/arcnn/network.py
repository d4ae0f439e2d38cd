"""ARCNN (Dong, Deng, Loy, Tang 2015, section 3.2)."""

from scn.networks.arcnn.config import ArcnnConfig
from scn.networks.base.enlarged import EnlargedNetwork


class ARCNN(EnlargedNetwork):
    """SRCNN with a layer of feature enhancement, 9-7-1-5 (Dong et al. 2015, section 3.2).

    (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.
    """

    def __init__(self, config: ArcnnConfig, *, channels: int, scale: int) -> None:
        widths = [channels, config.units, config.units // 2, config.units // 4, channels]
        super().__init__(widths, [9, 7, 1, 5], channels=channels, scale=scale)
