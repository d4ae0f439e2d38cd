"""SRResNet (Ledig et al. 2017) without batch normalisation, with multi-scale convolutions (Feng et al. 2020)."""

import torch.nn.functional as F
from torch import nn

from scn.networks.ms_conv.config import SrresnetConfig
from scn.networks.ms_conv.layers import Branches, Features, MultiScaleNetwork, ResidualBlock, add


class SRResNet(MultiScaleNetwork):
    """SRResNet (MS-Conv paper, section 4, figure 3): float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    A first layer and ReLU; then a layer, the residual blocks and a layer, with a skip past them; then the enlargement.
    """

    def __init__(self, config: SrresnetConfig, *, channels: int, scale: int) -> None:
        super().__init__(config, channels=channels, scale=scale)
        split = Branches.of(config)
        self.enter = split.layer()
        self.blocks = nn.Sequential(*(ResidualBlock(split) for _ in range(config.blocks)))
        self.leave = split.layer()

    def body(self, features: Features) -> Features:
        features = [F.relu(x) for x in features]
        return add(features, self.leave(self.blocks(self.enter(features))))
