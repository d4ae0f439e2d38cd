"""Scale-wise Convolutional Network (Fan, Yu, Liu, Huang, AAAI 2020, section 3).

Shapes: N batch, U units, H_s W_s height and width at scale s of the pyramid, the finest is scale 0.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from scn.networks.base.bands import in_bands
from scn.networks.base.layers import conv
from scn.networks.base.wide import Trunk, WideNetwork
from scn.networks.scn.config import PyramidConfig, ScnConfig, UnsharedBase, check_pyramid, multiple_of
from scn.networks.scn.initial import begin_as_authors
from scn.networks.scn.scale_wise import ScaleWiseConv, resized, strided


class ScaleWiseBlock(nn.Module):
    """Residual block with wide activation and a scale-wise convolution F: x + F(relu(expand(x))) (section 3.2).

    It has U = config.units channels outside, and config.width times as many before the activation.
    """

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        wide = config.units * config.width
        self.expand = conv(config.units, wide, 3, weight_norm=config.weight_norm)
        self.scale_wise = ScaleWiseConv(wide, config.units, config)

    def per_scale(self, scales: int) -> Sequence["ScaleWiseBlock"]:
        """The block that works at each of the `scales` finest scales: the same at all."""
        return [self] * scales

    def forward(self, pyramid: list[Tensor], keep: int) -> list[Tensor]:
        """Applies the block to a pyramid of (N, U, H_s, W_s), finest first; returns the `keep` finest scales."""
        return _residual(self.per_scale(len(pyramid)), pyramid, keep)


class UnsharedBlock(nn.ModuleList):
    """A block with weights of its own for every scale: one ScaleWiseBlock for each (table 5, "Un-shared")."""

    def per_scale(self, scales: int) -> Sequence[ScaleWiseBlock]:
        """The block that works at each of the `scales` finest scales."""
        return list(self)[:scales]  # type: ignore[return-value]  # a ModuleList does not say of what

    def forward(self, pyramid: list[Tensor], keep: int) -> list[Tensor]:
        """Applies the block to a pyramid of (N, U, H_s, W_s), finest first; returns the `keep` finest scales."""
        return _residual(self.per_scale(len(pyramid)), pyramid, keep)


def _residual(blocks: Sequence[ScaleWiseBlock], pyramid: list[Tensor], keep: int) -> list[Tensor]:
    """Applies blocks[s] to scale s, for the `keep` finest; scales that can't reach them are not computed."""
    convs = [block.scale_wise for block in blocks]
    reached = list(zip(blocks, pyramid, strict=True))[: keep + convs[0].reach]
    keep = min(keep, len(pyramid))
    if convs[0].factorised:
        wide: list[Tensor] = []
        own = [in_bands(block.expand, block.scale_wise.spatial, x) for block, x in reached]
    else:
        wide = [block.expand(x).relu_() for block, x in reached]
        own = [conv.spatial(x) for conv, x in zip(convs[:keep], wide[:keep], strict=True)]
    return [convs[s].at_scale(s, wide, own, residual=pyramid[s]) for s in range(keep)]


class ScaleWiseTrunk(Trunk):
    """A feature pyramid and scale-wise residual blocks, whose finest scale is the result (figure 2).

    The weights are the same at every scale if config.shared, otherwise each scale has its own (table 5).
    """

    def __init__(self, config: ScnConfig | UnsharedBase) -> None:
        super().__init__()
        self.scales, self.ratio, self.resampling = config.scales, config.ratio, config.resampling
        self.reach = config.kernel // 2
        self.built_for = None if config.shared else config.scales
        self.blocks = nn.ModuleList(
            ScaleWiseBlock(config)
            if config.shared
            else UnsharedBlock(ScaleWiseBlock(config) for _ in range(config.scales))
            for _ in range(config.blocks)
        )
        self.down = None
        if config.resampling == "strided":
            self.down = strided(config.units, round(1 / config.ratio), up=False, weight_norm=config.weight_norm)
            self.down.requires_grad_(config.scales > 1)
        self._freeze_unread()

    @property
    def multiple(self) -> int:
        """The number of pixels that height and width must be multiples of, so that every scale divides the finest."""
        return multiple_of(self.scales, self.ratio)

    def sides(self, side: int) -> list[int]:
        sides = [side]
        while len(sides) < self.scales:
            sides.append(self._smaller(sides[-1]))
        return sides

    def _smaller(self, side: int) -> int:
        factor = multiple_of(1, self.ratio)
        return side // factor if factor > 1 else max(1, round(side * self.ratio))

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [x]
        for _ in range(1, self.scales):
            finer = pyramid[-1]
            height, width = (self._smaller(side) for side in finer.shape[-2:])
            pyramid.append(resized(finer, height, width, self.resampling) if self.down is None else self.down(finer))
        for block, keep in self._blocks():
            pyramid = block(pyramid, keep)
        return pyramid[0]

    def _blocks(self) -> Iterator[tuple[ScaleWiseBlock | UnsharedBlock, int]]:
        """Every block, and how many scales of its result can reach the finest of the last block."""
        for i, block in enumerate(self.blocks):
            assert isinstance(block, ScaleWiseBlock | UnsharedBlock)
            yield block, 1 + self.reach * (len(self.blocks) - 1 - i)

    def _freeze_unread(self) -> None:
        """Switches gradients off for layers that no output depends on, such as the last block's towards scale 1.

        They are part of the published network, so they stay.
        """
        self.blocks.requires_grad_(False)
        for block, keep in self._blocks():
            scales = min(self.scales, keep + self.reach)
            for s, at_scale in enumerate(block.per_scale(scales)):
                conv = at_scale.scale_wise
                read = conv.read(s, scales) if s < keep else [conv.spatial] if conv.factorised else []
                for layer in (at_scale.expand, *read):
                    layer.requires_grad_()


class SCN(WideNetwork):
    """SCN (SCN paper, figure 2): float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), about [0, 1], not clipped."""

    make_trunk = ScaleWiseTrunk
    trunk: ScaleWiseTrunk

    def __init__(self, config: ScnConfig | UnsharedBase, *, channels: int, scale: int) -> None:
        super().__init__(config, channels=channels, scale=scale)
        if config.initial == "authors":
            begin_as_authors(self, config.blocks)

    def set_pyramid(self, *, scales: int | None = None, ratio: float | None = None) -> "SCN":
        """Applies the same weights to another pyramid (section 4.3, figures 7 and 8); changes and returns the network.

        Args:
            scales: number of scales; None: as before.
            ratio: size of a scale relative to the next finer one; None: as before.
        Raises:
            UserError: for scales or a ratio that no network has, or that the weights don't allow: scales without
                weights of their own in an un-shared network, another ratio for pooling or strided convolutions. The
                network stays as it was.
        """
        trunk = self.trunk
        scales = trunk.scales if scales is None else scales
        ratio = trunk.ratio if ratio is None else ratio
        check_pyramid(scales, ratio, most=trunk.built_for, resampling=trunk.resampling, before=trunk.ratio)
        trunk.scales, trunk.ratio = scales, ratio
        return self
