"""Cascading Residual Network (Ahn, Kang, Sohn 2018) with multi-scale convolutions (Feng et al. 2020)."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from scn.networks.ms_conv.config import CarnConfig
from scn.networks.ms_conv.layers import Branches, Features, MultiScaleNetwork, ResidualBlock, rectify

RESIDUAL_BLOCKS = 3
"""Residual blocks in a cascading block (Ahn et al. 2018, section 3.1)."""


class RectifiedBlock(ResidualBlock):
    """CARN's residual block of two multi-scale layers: ReLU(x + W(ReLU(W(x)))), per branch."""

    def forward(self, features: Features) -> Features:
        return rectify(features, super().forward(features))


class Cascade(nn.Module):
    """A cascade of blocks: before block k + 1, a 1x1 layer reads the input and the outputs of blocks 1 to k.

    After the last block another 1x1 layer gives the output. A cascade of residual blocks is a cascading block (local
    cascading); a cascade of cascading blocks is CARN's body (global cascading).
    """

    def __init__(self, branches: Branches, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fusions = nn.ModuleList(branches.layer(inputs=k, kernel=1) for k in range(2, len(self.blocks) + 2))

    def forward(self, features: Features) -> Features:
        seen = [features]
        for block, fusion in zip(self.blocks, self.fusions, strict=True):
            seen.append(block(features))
            features = [F.relu(x) for x in fusion([torch.cat(x, 1) for x in zip(*seen, strict=True)])]
        return features


class CARN(MultiScaleNetwork):
    """CARN (MS-Conv paper, section 4.3): float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped."""

    def __init__(self, config: CarnConfig, *, channels: int, scale: int) -> None:
        super().__init__(config, channels=channels, scale=scale)
        split = Branches.of(config)
        self.cascade = Cascade(
            split,
            [Cascade(split, [RectifiedBlock(split) for _ in range(RESIDUAL_BLOCKS)]) for _ in range(config.blocks)],
        )

    def body(self, features: Features) -> Features:
        output: Features = self.cascade(features)
        return output
