"""Multi-scale convolutions (Feng, Guan, Qiao, Dong 2020, section 3), and the two ends of a network of them.

Features are lists of tensors (N, U_b, H_b, W_b), one per branch, finest first: at level l a side of n pixels has
ceil(n / 2^l). So sides need not divide; where they do, everything is the paper's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.base.layers import RestorationNetwork, conv, prime_factors
from scn.networks.ms_conv.config import MsConvConfig
from scn.networks.ms_conv.transformations import IDENTITY, MERGE, SPLIT, TRANSFORMATIONS, Path, Transformation

Features = list[Tensor]
"""Tensors (N, U_b, H_b, W_b), one per branch, finest first."""


def average(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Average pooling; a cell at the border that is not whole is the mean of the pixels it has."""
    return F.avg_pool2d(x, factor, ceil_mode=True)


def maximum(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Max pooling; a cell at the border that is not whole is the largest of the pixels it has."""
    return F.max_pool2d(x, factor, ceil_mode=True)


def every(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour down-sampling, D: the first pixel of each cell."""
    return x[..., ::factor, ::factor]


def nearest(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour up-sampling, U, without the pixels that the finer branch does not have."""
    return F.interpolate(x, scale_factor=factor, mode="nearest")[..., : size[0], : size[1]]


RESAMPLE: Mapping[str, Callable[[Tensor, int, tuple[int, int]], Tensor]] = {
    "average": average,
    "maximum": maximum,
    "every": every,
    "nearest": nearest,
}
"""The resampling that a Path names: (N, U, H, W), factor, (height, width) of the result -> the result."""


class MultiScaleConv(nn.Module):
    """One layer: Y_i = sum over j of f_ij(X_j) (equation 1), (N, inputs_j, H_j, W_j) -> (N, outputs_i, H_i, W_i).

    Height and width stay; outside the image are zeros.

    Args:
        inputs, outputs: channels per branch.
        levels: of all branches; one side is 2^level times smaller than the image's.
        kernel: side of the kernels, odd.
    """

    def __init__(
        self,
        transformation: Transformation,
        inputs: Sequence[int],
        outputs: Sequence[int],
        levels: Sequence[int],
        kernel: int = 3,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.convs = nn.ModuleDict()
        self.terms: list[list[tuple[int, Path, str]]] = [[] for _ in outputs]
        """Per output branch: input branch, path, name of the convolution ("": identity)."""
        for i, j in ((i, j) for i in range(len(outputs)) for j in range(len(inputs))):
            path = transformation.path(i, j)
            if path is None:
                continue
            name = "shared" if path.shared else f"{j}to{i}"
            if path is IDENTITY and inputs[j] == outputs[i]:
                name = ""
            elif name not in self.convs:
                self.convs[name] = conv(inputs[j], outputs[i], path.kernel or kernel)
            self.terms[i].append((j, path, name))

    def forward(self, features: Features) -> Features:
        """A branch that is handed on as it is stays the same tensor, not a copy."""
        outputs = []
        for i, terms in enumerate(self.terms):
            first, *others = (self._term(features, i, *term) for term in terms)
            outputs.append(sum(others, start=first))
        return outputs

    def _term(self, features: Features, i: int, j: int, path: Path, name: str) -> Tensor:
        x = features[j]
        if not name:
            return x
        size = size_at(features[0], self.levels[i])
        # Within a branch only D2 and U2 resample (section 3.3); branches of one size need no resampling between them.
        factor = 2 if i == j else 2 ** abs(self.levels[i] - self.levels[j])
        if path.before and factor > 1:
            x = RESAMPLE[path.before](x, factor, size)
        layer = cast(nn.Conv2d, self.convs[name])
        if path.dilation == 1:
            x = layer(x)
        else:  # a shared layer is used with more than one dilation
            padding = path.dilation * (layer.kernel_size[0] // 2)
            x = F.conv2d(x, layer.weight, layer.bias, padding=padding, dilation=path.dilation)
        return RESAMPLE[path.after](x, factor, size) if path.after and factor > 1 else x


def size_at(finest: Tensor, level: int) -> tuple[int, int]:
    """Height and width of a level, where `finest` (..., H, W) is level 0."""
    height, width = finest.shape[-2:]
    return -(-height // 2**level), -(-width // 2**level)


def rectify(inputs: Features, outputs: Features) -> Features:
    """ReLU of a layer's outputs, but for branches that it handed on as they were: they pass by the layer."""
    return [y if y is x else F.relu(y) for x, y in zip(inputs, outputs, strict=True)]


def add(inputs: Features, outputs: Features) -> Features:
    """Sum of a layer's inputs and outputs, but for branches that were handed on as they were."""
    return [x if y is x else x + y for x, y in zip(inputs, outputs, strict=True)]


@dataclass(frozen=True)
class Branches:
    """The branches that a network's features are split into, and the transformation of its layers."""

    transformation: Transformation
    widths: tuple[int, ...]
    """Channels per branch."""
    levels: tuple[int, ...]

    @classmethod
    def of(cls, config: MsConvConfig) -> "Branches":
        """The branches that a network's parameters ask for."""
        transformation, units, branches = TRANSFORMATIONS[config.conv], config.units, config.branches
        assert branches is not None  # the config has put the usual number in its place
        if transformation.same_size:
            return cls(transformation, (units // 2,) * 2, (0, 0))
        low = round(config.alpha * units)
        widths = (units,) if branches == 1 else (units - low,) + (low,) * (branches - 1)
        return cls(transformation, widths, tuple(range(branches)))

    def layer(self, inputs: int = 1, outputs: int = 1, kernel: int = 3) -> MultiScaleConv:
        """Makes a layer from `inputs` times to `outputs` times the branches' channels."""
        wide = {times: [times * width for width in self.widths] for times in (inputs, outputs)}
        return MultiScaleConv(self.transformation, wide[inputs], wide[outputs], self.levels, kernel)


class ResidualBlock(nn.Module):
    """Residual block of two multi-scale layers: x + W(ReLU(W(x))), per branch."""

    def __init__(self, branches: Branches) -> None:
        super().__init__()
        self.first, self.second = branches.layer(), branches.layer()

    def forward(self, features: Features) -> Features:
        return add(features, self.second(rectify(features, self.first(features))))


class MultiScaleUpsampler(nn.Module):
    """Enlarges features by the scale.

    For each prime factor of it: a layer to factor^2 times the channels, pixel shuffle, ReLU.
    """

    def __init__(self, branches: Branches, scale: int) -> None:
        super().__init__()
        self.levels = branches.levels
        self.factors = prime_factors(scale)
        self.layers = nn.ModuleList(branches.layer(outputs=factor**2) for factor in self.factors)

    def forward(self, features: Features) -> Features:
        for factor, layer in zip(self.factors, self.layers, strict=True):
            features = [F.relu(F.pixel_shuffle(y, factor)) for y in layer(features)]
            # Of a side of 3 the next level has 2; enlarged twice they are 6 and 4, and level 1 of 6 has 3.
            sizes = (size_at(features[0], level) for level in self.levels)
            features = [y[..., :height, :width] for y, (height, width) in zip(features, sizes, strict=True)]
        return features


class MultiScaleNetwork(RestorationNetwork):
    """The frame of SRResNet and CARN (section 4, figure 3): first layer, up-sampling, the two last layers.

    The first layer sees the image pooled to each branch's size. After the up-sampling, the branches are aggregated:
    a 3x3 convolution of each to `units` channels, up-sampled and summed; ReLU; a 3x3 convolution to the image.
    Subclasses write `body`, at the input's resolution.
    """

    def __init__(self, config: MsConvConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        branches, units = Branches.of(config), config.units
        self.first = MultiScaleConv(SPLIT, [channels], branches.widths, branches.levels)
        self.upsampler = MultiScaleUpsampler(branches, scale)
        self.merge = MultiScaleConv(MERGE, branches.widths, [units], branches.levels)
        self.last = conv(units, channels, 3)

    def restore(self, image: Tensor) -> Tensor:
        (merged,) = self.merge(self.upsampler(self.body(self.first([image]))))
        output: Tensor = self.last(F.relu(merged))
        return output

    def body(self, features: Features) -> Features:
        """The layers at the input's resolution: features -> features of the same shapes."""
        raise NotImplementedError
