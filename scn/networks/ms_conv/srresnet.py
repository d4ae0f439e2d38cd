"""SRResNet (Ledig et al. 2017) without batch normalisation, with multi-scale convolutions (Feng et al. 2020)."""

import torch.nn.functional as F
from torch import nn

from scn.networks.ms_conv.layers import Branches, Features, MultiScaleNetwork, ResidualBlock, add


class SRResNet(MultiScaleNetwork):
    """float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), about [0, 1], not clipped (MS-Conv paper, section 4, figure 3).

    First layer and ReLU; a layer, the residual blocks and one more layer, with a skip past all of them.

    Args:
        conv, branches, units, alpha, blocks: as in scn.networks.ms_conv.config.SrresnetConfig.
        channels: of the image, 3 or 1.
        scale: upscaling factor s.
    """

    def __init__(
        self, *, conv: str, branches: int, units: int, alpha: float, blocks: int, channels: int, scale: int
    ) -> None:
        split = Branches.of(conv, branches, units, alpha)
        super().__init__(split, units=units, channels=channels, scale=scale)
        self.enter = split.layer()
        self.blocks = nn.Sequential(*(ResidualBlock(split) for _ in range(blocks)))
        self.leave = split.layer()

    def body(self, features: Features) -> Features:
        features = [F.relu(x) for x in features]
        return add(features, self.leave(self.blocks(self.enter(features))))
