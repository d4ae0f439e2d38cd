"""ScaleWiseNetwork, original and adaptive, of the SCN replication (Pratap 2024, 'Methodology').

Unlike SCN's scale-wise convolution, every layer takes one feature map apart into scales, convolves each with weights of
its own, and puts them together again. Shapes: N batch, C channels, U units, S scales, s upscaling factor.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.base.convolution import Convolution
from scn.networks.base.layers import RestorationNetwork, conv, shuffle
from scn.networks.base.resample import bilinear
from scn.networks.replication.config import ScaleWiseConfig


class ScaleWiseLayer(nn.Module):
    """Scale-wise layer: sum over s of upsample(conv_s(x_s)): (N, U, H, W) -> (N, U, H, W).

    x_s is x resampled to ceil(H / 2^s) x ceil(W / 2^s), bilinear with aligned corners both ways.
    """

    def __init__(self, units: int, scales: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(self.make_conv(units) for _ in range(scales))

    def make_conv(self, units: int) -> nn.Module:
        """Makes the convolution of one scale."""
        return conv(units, units, 3)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Convolves x at each scale: S feature maps (N, U, H, W), the finest scale first."""
        height, width = x.shape[-2:]
        return [
            bilinear(layer(bilinear(x, -(-height // 2**s), -(-width // 2**s))), height, width)
            for s, layer in enumerate(self.convs)
        ]

    def forward(self, x: Tensor) -> Tensor:
        return reduce(torch.add, self.maps(x))


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation with gain and bias, for features of one pixel or more.

    A single pixel is normalised to 0, as any constant map is; PyTorch refuses a single one, so it is doubled first.
    """

    def __init__(self, units: int) -> None:
        super().__init__(units, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height * width > 1:  # not numel(), which an export to ONNX takes for a constant
            return super().forward(x)
        return super().forward(x.expand(-1, -1, 2, -1))[..., :1, :]


class AdaptiveScaleWiseLayer(ScaleWiseLayer):
    """Scale-wise layer with attention, sum over s of alpha_s * upsample(norm_s(conv_s(x_s))): (N, U, H, W) -> the same.

    alpha_s is a weight per pixel, the same for all channels: the softmax over scales of each scale's map after a 1x1
    convolution U -> 1 of its own. conv_s has no bias, which the normalisation would take away.
    """

    def __init__(self, units: int, scales: int) -> None:
        super().__init__(units, scales)
        self.scores = nn.ModuleList(conv(units, 1, 1) for _ in range(scales))

    def make_conv(self, units: int) -> nn.Module:
        return nn.Sequential(Convolution(units, units, 3, bias=False), InstanceNorm(units))

    def attention(self, maps: list[Tensor]) -> Tensor:
        """The weights alpha of the scales: S maps (N, U, H, W) -> (N, S, H, W), which add up to 1 over S."""
        scores = [score(x) for score, x in zip(self.scores, maps, strict=True)]
        return F.softmax(torch.cat(scores, dim=1), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        weights = self.attention(maps).split(1, dim=1)
        return reduce(torch.add, (weight * y for weight, y in zip(weights, maps, strict=True)))


class ScaleWiseBlock(nn.Module):
    """Residual block x + layer(relu(layer(x))): (N, U, H, W) -> (N, U, H, W).

    Args:
        kind: class of both layers.
        units: U.
        scales: S.
    """

    def __init__(self, kind: type[ScaleWiseLayer], units: int, scales: int) -> None:
        super().__init__()
        self.first = kind(units, scales)
        self.second = kind(units, scales)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(x)))
        return x + residual


class ScaleWiseNetwork(RestorationNetwork):
    """The report's network, shuffle(tail(blocks(head(x)))): (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    It takes images of any height and width.
    """

    kind: type[ScaleWiseLayer] = ScaleWiseLayer
    """Class of the blocks' layers."""

    def __init__(self, config: ScaleWiseConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        units, blocks, self.scales = config.units, range(config.blocks), config.scales
        self.head = conv(channels, units, 3)
        self.blocks = nn.Sequential(*(ScaleWiseBlock(self.kind, units, config.scales) for _ in blocks))
        self.tail = conv(units, channels * scale**2, 3)

    def sides(self, side: int) -> list[int]:
        return [-(-side // 2**s) for s in range(self.scales)]

    def restore(self, image: Tensor) -> Tensor:
        return shuffle(self.tail(self.blocks(self.head(image))), self.scale)


class AdaptiveScaleWiseNetwork(ScaleWiseNetwork):
    """ScaleWiseNetwork with instance normalisation and attention over scales.

    Instance normalisation depends on the whole image: a tile's output differs from the whole image's.
    """

    kind = AdaptiveScaleWiseLayer
