"""Scale-wise Convolutional Network (Fan, Yu, Liu, Huang, AAAI 2020, section 3).

Shapes: N batch, C channels, H W height and width of the input, U units, s upscaling factor.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from scn.models.layers import IMAGE_MEAN, RestorationNetwork, shuffle
from scn.models.resample import bilinear


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class ScaleWiseBlock(nn.Module):
    """Residual block with a scale-wise convolution of kernel 3 along scale (section 3.1 and 3.2).

    With r_s = p(x_s) (wide activation, shared by all levels) the output is
        x_s + r_s + h_down(q_down(r_{s-1})) + h_up(q_up(r_{s+1})),
    q a 1x1 convolution, h bilinear resampling to level s. At the two ends of the pyramid the neighbour that is
    missing is the level's own r_s, untransformed (the authors' code).
    """

    def __init__(self, units: int, width: int) -> None:
        super().__init__()
        self.expand = _conv(units, units * width, 3)
        self.project = _conv(units * width, units, 3)
        self.down = _conv(units, units, 1)
        self.up = _conv(units, units, 1)

    def forward(self, pyramid: list[Tensor], keep: int) -> list[Tensor]:
        """Pyramid of (N, U, H_s, W_s), finest first -> its `keep` finest levels.

        Levels deeper than keep + 1 can't reach the result and are not computed.
        """
        residuals = [self.project(F.relu(self.expand(x))) for x in pyramid[: keep + 1]]
        outputs = []
        for s in range(min(keep, len(pyramid))):
            size = pyramid[s].shape[-2:]
            y = pyramid[s] + residuals[s]
            # Down-sampling before the 1x1 convolution commutes with it and costs a quarter.
            y = y + (residuals[s] if s == 0 else self.down(bilinear(residuals[s - 1], *size)))
            y = y + (residuals[s] if s == len(pyramid) - 1 else bilinear(self.up(residuals[s + 1]), *size))
            outputs.append(y)
        return outputs


class SCN(RestorationNetwork):
    """The network of figure 2: float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), about [0, 1], not clipped.

    At scale 1 (denoising, JPEG) there is neither the pixel shuffle nor the 5x5 convolution of the global skip: the
    input itself is added to the result (golden vectors of the authors' network; the paper says only what is removed).

    Args:
        blocks: residual blocks.
        units: channels between blocks.
        width: channels before the activation, times `units`.
        scales: levels of the pyramid. May be changed on a trained network (figure 7).
        ratio: size of a level relative to the one above. May be changed too (figure 8).
        channels: of the image, 3 or 1.
        scale: upscaling factor s.
    """

    def __init__(
        self, *, blocks: int, units: int, width: int, scales: int, ratio: float, channels: int, scale: int
    ) -> None:
        super().__init__(channels=channels, scale=scale)
        self.scales = scales
        self.ratio = ratio
        outputs = channels * scale**2
        self.head = _conv(channels, units, 3)
        self.blocks = nn.ModuleList(ScaleWiseBlock(units, width) for _ in range(blocks))
        self.tail = _conv(units, outputs, 3)
        self.skip = _conv(channels, outputs, 5) if scale > 1 else None

    def restore(self, image: Tensor) -> Tensor:
        x = image - IMAGE_MEAN
        features = self._body(self._pad(x))[..., : x.shape[-2], : x.shape[-1]]
        features = features + (x if self.skip is None else self.skip(x))
        return shuffle(features, self.scale) + IMAGE_MEAN

    def _pad(self, x: Tensor) -> Tensor:
        """Repeats the last row and column until both sides are multiples of 2^scales (the authors' code)."""
        if self.ratio != 0.5:
            return x  # no multiple makes the levels of another ratio line up
        multiple = 2**self.scales
        bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x

    def _body(self, x: Tensor) -> Tensor:
        pyramid = [self.head(x)]
        for _ in range(1, self.scales):
            h, w = pyramid[-1].shape[-2:]
            pyramid.append(bilinear(pyramid[-1], max(1, round(h * self.ratio)), max(1, round(w * self.ratio))))
        for block, blocks_after in zip(self.blocks, reversed(range(len(self.blocks))), strict=True):
            pyramid = block(pyramid, keep=blocks_after + 1)
        return self.tail(pyramid[0])
