"""The multi-scale networks that SCN is compared with (SCN paper, figure 3 and table 4), made of the same blocks.

Shapes: N batch, U units, H W height and width.
"""

import torch
from torch import Tensor, nn

from scn.networks.base.layers import conv
from scn.networks.base.resample import bilinear
from scn.networks.base.residual import Residuals
from scn.networks.base.wide import Trunk, WideNetwork
from scn.networks.scn.config import PSPNetConfig, UNetConfig


class UNetTrunk(Trunk):
    """Trunk of figure 3, "U-Net style": an encoder from fine to coarse scales and a decoder back again.

        e_0 = E_0(x),  e_s = E_s(down(e_{s-1}));   d_S = D_S(e_S),  d_s = D_s(skip_s(e_s) + up(d_{s+1}))

    E and D: `blocks` / (2 * scales) residual blocks each, with weights of their own; down and up: bilinear resampling
    by 2 with a 1x1 convolution; skip: a 1x1 convolution, as features are "linearly composited" (section 3.2).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.scales, units = config.scales, config.units
        blocks = config.blocks // (2 * self.scales)
        self.encoder, self.decoder = (
            nn.ModuleList(Residuals(config, blocks=blocks) for _ in range(self.scales)) for _ in range(2)
        )
        self.down, self.up, self.skip = (
            nn.ModuleList(conv(units, units, 1, weight_norm=config.weight_norm) for _ in range(self.scales - 1))
            for _ in range(3)
        )

    @property
    def multiple(self) -> int:
        return int(2 ** (self.scales - 1))

    def sides(self, side: int) -> list[int]:
        return [side // 2**s for s in range(self.scales)]

    def forward(self, x: Tensor) -> Tensor:
        encoded = [self.encoder[0](x)]
        for encode, down in zip(self.encoder[1:], self.down, strict=True):
            height, width = encoded[-1].shape[-2:]
            encoded.append(encode(down(bilinear(encoded[-1], height // 2, width // 2))))
        y = self.decoder[-1](encoded[-1])
        for s in reversed(range(self.scales - 1)):
            y = self.decoder[s](self.skip[s](encoded[s]) + bilinear(self.up[s](y), *encoded[s].shape[-2:]))
        return y


class PSPNetTrunk(Trunk):
    """Trunk of figure 3, "PSPNet style": each scale has blocks of its own, and all are fused at the end.

        y = fuse([B_0(x), up(B_1(down(x))), ...]),  B_s: `blocks` residual blocks with weights of their own

    down and up: bilinear resampling by 2^s; fuse: a 1x1 convolution of all scales, S U -> U channels.
    """

    def __init__(self, config: PSPNetConfig) -> None:
        super().__init__()
        self.scales = config.scales
        self.branches = nn.ModuleList(Residuals(config) for _ in range(config.scales))
        self.fuse = conv(config.scales * config.units, config.units, 1, weight_norm=config.weight_norm)

    @property
    def multiple(self) -> int:
        return int(2 ** (self.scales - 1))

    def sides(self, side: int) -> list[int]:
        return [side // 2**s for s in range(self.scales)]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        parts = []
        for s, branch in enumerate(self.branches):
            y = branch(bilinear(x, height // 2**s, width // 2**s))
            parts.append(bilinear(y, height, width))
        return self.fuse(torch.cat(parts, dim=1))


class UNetStyle(WideNetwork):
    """Widely-activated network with a U-Net style trunk; float32 (N, C, H, W) -> (N, C, sH, sW)."""

    make_trunk = UNetTrunk


class PSPNetStyle(WideNetwork):
    """Widely-activated network with a PSPNet style trunk; float32 (N, C, H, W) -> (N, C, sH, sW)."""

    make_trunk = PSPNetTrunk
