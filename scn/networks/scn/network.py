"""Scale-wise Convolutional Network (Fan, Yu, Liu, Huang, AAAI 2020, section 3).

Shapes: N batch, U units, H_s W_s height and width of level s, the finest is level 0.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from scn.core.errors import UserError
from scn.networks import network_config
from scn.networks.base.bands import in_bands
from scn.networks.base.layers import conv
from scn.networks.base.wide import Trunk, WideNetwork
from scn.networks.scn.config import multiple_of
from scn.networks.scn.scale_wise import Resampling, ScaleWiseConv, resized, strided


class ScaleWiseBlock(nn.Module):
    """Residual block with wide activation and a scale-wise convolution F: x + F(relu(expand(x))) (section 3.2).

    Args:
        units, width: U channels outside, U * width before the activation.
        scale_wise: of ScaleWiseConv.
    """

    def __init__(self, units: int, width: int, *, weight_norm: bool = True, **scale_wise: Any) -> None:
        super().__init__()
        self.expand = conv(units, units * width, 3, weight_norm=weight_norm)
        self.scale_wise = ScaleWiseConv(units * width, units, weight_norm=weight_norm, **scale_wise)

    def of_levels(self, levels: int) -> Sequence["ScaleWiseBlock"]:
        """The block that works at each level."""
        return [self] * levels

    def forward(self, pyramid: list[Tensor], keep: int) -> list[Tensor]:
        """Pyramid of (N, U, H_s, W_s), finest first -> its `keep` finest levels."""
        return _residual(self.of_levels(len(pyramid)), pyramid, keep)


class UnsharedBlock(nn.ModuleList):
    """A ScaleWiseBlock with weights of its own for every level (table 5, "Un-shared")."""

    def of_levels(self, levels: int) -> Sequence[ScaleWiseBlock]:
        return list(self)[:levels]  # type: ignore[return-value]  # a ModuleList does not say of what

    def forward(self, pyramid: list[Tensor], keep: int) -> list[Tensor]:
        return _residual(self.of_levels(len(pyramid)), pyramid, keep)


def _residual(blocks: Sequence[ScaleWiseBlock], pyramid: list[Tensor], keep: int) -> list[Tensor]:
    """What blocks[s] makes of level s, for the `keep` finest; levels that can't reach them are not computed."""
    convs = [block.scale_wise for block in blocks]
    reached = list(zip(blocks, pyramid, strict=True))[: keep + convs[0].reach]
    keep = min(keep, len(pyramid))
    if convs[0].factorised:
        wide: list[Tensor] = []
        own = [in_bands(block.expand, block.scale_wise.spatial, x) for block, x in reached]
    else:
        wide = [block.expand(x).relu_() for block, x in reached]
        own = [conv.spatial(x) for conv, x in zip(convs[:keep], wide[:keep], strict=True)]
    return [convs[s].level(s, wide, own, residual=pyramid[s]) for s in range(keep)]


class ScaleWiseTrunk(Trunk):
    """A feature pyramid and scale-wise residual blocks; the finest level is the result (figure 2).

    Args:
        scales: levels of the pyramid.
        ratio: size of a level relative to the one above.
        shared: the same weights at every level.
        block: of ScaleWiseBlock and ScaleWiseConv.
    """

    def __init__(
        self,
        *,
        blocks: int,
        units: int,
        scales: int,
        ratio: float,
        shared: bool,
        kernel: int,
        resampling: Resampling,
        **block: Any,
    ) -> None:
        super().__init__()
        self.scales, self.ratio, self.reach, self.resampling = scales, ratio, kernel // 2, resampling
        self.built_for = None if shared else scales
        block |= {"units": units, "kernel": kernel, "resampling": resampling, "stride": round(1 / ratio)}
        self.blocks = nn.ModuleList(
            ScaleWiseBlock(**block) if shared else UnsharedBlock(ScaleWiseBlock(**block) for _ in range(scales))
            for _ in range(blocks)
        )
        self.down = None
        if resampling == "strided":
            self.down = strided(units, block["stride"], up=False, weight_norm=block["weight_norm"])
            self.down.requires_grad_(scales > 1)
        self._freeze_unread()

    @property
    def multiple(self) -> int:
        """Makes every level of a ratio 1/m exactly m times smaller; no multiple does it for another ratio."""
        return multiple_of(self.scales, self.ratio)

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
        """Every block, and how many levels of its result can reach the last block's finest."""
        for i, block in enumerate(self.blocks):
            assert isinstance(block, ScaleWiseBlock | UnsharedBlock)
            yield block, 1 + self.reach * (len(self.blocks) - 1 - i)

    def _freeze_unread(self) -> None:
        """Layers that nothing reads, as the last block's towards level 1, are part of the published network: they stay.

        They get no gradients, so they don't ask for any.
        """
        self.blocks.requires_grad_(False)
        for block, keep in self._blocks():
            levels = min(self.scales, keep + self.reach)
            for s, of_level in enumerate(block.of_levels(levels)):
                conv = of_level.scale_wise
                read = conv.read(s, levels) if s < keep else [conv.spatial] if conv.factorised else []
                for layer in (of_level.expand, *read):
                    layer.requires_grad_()


class SCN(WideNetwork):
    """The network of figure 2: float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), about [0, 1], not clipped.

    Its parameters are those of ScaleWiseTrunk, ScaleWiseBlock and ScaleWiseConv.
    """

    make_trunk = ScaleWiseTrunk
    trunk: ScaleWiseTrunk

    def set_pyramid(self, *, scales: int | None = None, ratio: float | None = None) -> "SCN":
        """The same weights on another pyramid (section 4.3, figures 7 and 8), in place.

        Raises:
            UserError: for scales or a ratio that no network has, or that the weights don't allow: levels without
                weights of their own in an un-shared network, another ratio for pooling or strided convolutions. The
                network stays as it was.
        """
        trunk = self.trunk
        scales = trunk.scales if scales is None else scales
        ratio = trunk.ratio if ratio is None else ratio
        network_config({"name": "scn", "scales": scales, "ratio": ratio}, "The pyramid")
        if trunk.built_for and scales > trunk.built_for:
            raise UserError(f"The network has weights for {trunk.built_for} scales, not {scales}: use fewer.")
        if trunk.resampling != "bilinear" and ratio != trunk.ratio:
            raise UserError(
                f"The network resamples by {trunk.resampling} at ratio {trunk.ratio}, not {ratio}: only bilinear "
                "resampling has any ratio."
            )
        trunk.scales, trunk.ratio = scales, ratio
        return self
