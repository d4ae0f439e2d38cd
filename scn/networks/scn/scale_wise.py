"""Scale-wise convolution (SCN paper, section 3.1).

Shapes: N batch, C channels of the input, U of the output, H_s W_s height and width at scale s, the finest is scale 0.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.base.layers import conv, with_weight_norm
from scn.networks.base.resample import bilinear
from scn.networks.scn.config import PyramidConfig, Resampling


class ScaleWiseConv(nn.Module):
    """Convolution over a feature pyramid: y_s = sum over i = -k..k of f_i(x_{s+i}), the same f_i at every scale s.

    Factorised, f_i = h_i . q_i . p: p a 3x3 convolution, q_i a 1x1 convolution (q_0 is the identity), h_i resampling to
    scale s. Not factorised, f_i = h_i . g_i, with a 3x3 convolution g_i for every i.

    h_i is one of: "bilinear" resampling with aligned corners, for any ratio between scales; average "pooling" and
    nearest neighbour, for ratio 1/m; "strided" convolution and transposed convolution of kernel and stride m^|i|, which
    are dense and so include the q_i before them.

    Where scale s + i is beyond an end of the pyramid, "zero" adds nothing, "replicate" takes the scale at that end in
    its place, and "published" (the authors' code) adds the scale's own p(x_s), neither transformed nor resampled.

    Args:
        inputs, outputs: C and U.
        config: gives kernel (2k + 1, along scale), ratio (m is 1 / ratio for "strided"), factorised, resampling, ends
            and weight_norm.
    """

    def __init__(self, inputs: int, outputs: int, config: PyramidConfig) -> None:
        super().__init__()
        self.reach = config.kernel // 2
        self.factorised = config.factorised
        self.resampling = config.resampling
        self.ends = config.ends
        stride, weight_norm = round(1 / config.ratio), config.weight_norm
        self.spatial = conv(inputs, outputs, 3, weight_norm=weight_norm)
        """The convolution p, or g_0 if not factorised."""
        self.cross = nn.ModuleDict()
        """The convolutions q_i, or g_i if not factorised, by the name of i."""
        self.resample = nn.ModuleDict()
        """The resamplings h_i that have weights, by the name of i."""
        for i in self.offsets:
            if not self.factorised:
                self.cross[_name(i)] = conv(inputs, outputs, 3, weight_norm=weight_norm)
            elif self.resampling != "strided":
                self.cross[_name(i)] = conv(outputs, outputs, 1, weight_norm=weight_norm)
            if self.resampling == "strided":
                self.resample[_name(i)] = strided(outputs, stride ** abs(i), up=i > 0, weight_norm=weight_norm)

    @property
    def offsets(self) -> Iterator[int]:
        """Every offset i along scale but 0, from -k to k."""
        return (i for i in range(-self.reach, self.reach + 1) if i)

    def source(self, s: int, i: int, scales: int) -> int | None:
        """The scale that stands at s + i in a pyramid of `scales`; None beyond its ends, if nothing stands there."""
        if self.ends == "replicate":
            return min(max(s + i, 0), scales - 1)
        return s + i if 0 <= s + i < scales else None

    def forward(self, pyramid: list[Tensor]) -> list[Tensor]:
        """Convolves a pyramid of (N, C, H_s, W_s), finest first, to one of (N, U, H_s, W_s)."""
        own = [self.spatial(x) for x in pyramid]
        return [self.at_scale(s, pyramid, own) for s in range(len(pyramid))]

    def at_scale(
        self, s: int, pyramid: Sequence[Tensor], own: Sequence[Tensor], residual: Tensor | None = None
    ) -> Tensor:
        """Computes scale s of the result plus `residual`: (N, U, H_s, W_s).

        Args:
            pyramid: the input x_t; only read if not factorised, to scale s + k.
            own: p(x_t) for each scale t; read to scale s + k if factorised, otherwise at scale s only.
            residual: (N, U, H_s, W_s); None: nothing is added.
        """
        terms, times, scales = [], 1, max(len(pyramid), len(own))
        for i in self.offsets:
            t = self.source(s, i, scales)
            if t is not None:
                terms.append(self._from((own if self.factorised else pyramid)[t], i, t - s, *own[s].shape[-2:]))
            elif self.ends == "published":
                times += 1
        y = own[s] * times if residual is None else torch.add(residual, own[s], alpha=times)
        for term in terms:
            y = y + term if torch.is_grad_enabled() else y.add_(term)
        return y

    def read(self, s: int, scales: int) -> Iterator[nn.Module]:
        """The layers that scale s of the result for a pyramid of `scales` depends on."""
        yield self.spatial
        for name in (_name(i) for i in self.offsets if self.source(s, i, scales) is not None):
            yield from (layers[name] for layers in (self.cross, self.resample) if name in layers)

    def _from(self, x: Tensor, i: int, steps: int, height: int, width: int) -> Tensor:
        """Applies f_i to a scale that is `steps` scales coarser than the target, without p if factorised."""
        if self.resampling == "strided":
            return self.resample[_name(i)](x if self.factorised else self.cross[_name(i)](x))
        if self.factorised and steps < 0:  # down-sampling commutes with a 1x1 convolution, and makes it cheaper
            return self.cross[_name(i)](resized(x, height, width, self.resampling))
        return resized(self.cross[_name(i)](x), height, width, self.resampling)


def resized(x: Tensor, height: int, width: int, resampling: Resampling) -> Tensor:
    """Resamples a scale to another's size without weights, h_i: (N, U, H, W) -> (N, U, height, width).

    Args:
        resampling: "bilinear", or "pooling", for which the smaller size must divide the larger.
    """
    if resampling == "bilinear":
        return bilinear(x, height, width)
    if height <= x.shape[-2]:
        factor = x.shape[-2] // height
        return F.avg_pool2d(x, factor) if factor > 1 else x
    return F.interpolate(x, size=(height, width), mode="nearest")


def strided(units: int, stride: int, *, up: bool, weight_norm: bool) -> nn.Module:
    """Makes a resampling with weights, h_i: a convolution of kernel and stride `stride`, transposed with `up`."""
    layer = (nn.ConvTranspose2d if up else nn.Conv2d)(units, units, stride, stride=stride)
    return with_weight_norm(layer, dim=1 if up else 0) if weight_norm else layer


def _name(i: int) -> str:
    return f"finer{-i}" if i < 0 else f"coarser{i}"
