"""DnCNN (Zhang, Zuo, Chen, Meng, Zhang 2017, section III)."""

from torch import Tensor

from scn.networks.base.enlarged import EnlargedNetwork
from scn.networks.dncnn.config import DncnnConfig


class DnCNN(EnlargedNetwork):
    """The image minus the noise that a chain of 3x3 convolutions predicts, x = y - R(y) (Zhang et al. 2017, III).

    (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.
    """

    def __init__(self, config: DncnnConfig, *, channels: int, scale: int) -> None:
        widths = [channels, *[config.units] * (config.layers - 1), channels]
        super().__init__(widths, [3] * config.layers, batch_norm=config.batch_norm, channels=channels, scale=scale)

    def combine(self, image: Tensor, features: Tensor) -> Tensor:
        return image - features
