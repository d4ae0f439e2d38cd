"""Multi-scale convolutions (Feng, Guan, Qiao, Dong 2020, section 3), and the first and last layers of their networks.

Features are lists of tensors (N, U_b, H_b, W_b), one per branch, finest first. At scale s of the pyramid a side of n
pixels has ceil(n / 2^s). So any size is taken; where sides are multiples of 2^s, everything is the paper's.
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
"""Features of all branches: tensors (N, U_b, H_b, W_b), one per branch, finest first."""


def average(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Average pooling by `factor`; a cell that the border cuts off is the mean of the pixels it has."""
    return F.avg_pool2d(x, factor, ceil_mode=True)


def maximum(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Max pooling by `factor`; a cell that the border cuts off is the largest of the pixels it has."""
    return F.max_pool2d(x, factor, ceil_mode=True)


def every(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour down-sampling by `factor`, D: the first pixel of each cell."""
    return x[..., ::factor, ::factor]


def nearest(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour up-sampling by `factor`, U, cut to `size`, the (height, width) of the finer branch."""
    return F.interpolate(x, scale_factor=factor, mode="nearest")[..., : size[0], : size[1]]


RESAMPLE: Mapping[str, Callable[[Tensor, int, tuple[int, int]], Tensor]] = {
    "average": average,
    "maximum": maximum,
    "every": every,
    "nearest": nearest,
}
"""The resampling functions that a Path names: (N, U, H, W), factor, (height, width) of the result -> the result."""


class MultiScaleConv(nn.Module):
    """One layer: Y_i = sum over j of f_ij(X_j) (equation 1), (N, inputs_j, H_j, W_j) -> (N, outputs_i, H_i, W_i).

    Height and width stay; features are padded with zeros.

    Args:
        transformation: the functions f_ij.
        inputs, outputs: channels per branch.
        scales: scale of each branch in the pyramid; at scale s sides are 2^s times smaller than the image's.
        kernel: side of the kernels, odd.
    """

    def __init__(
        self,
        transformation: Transformation,
        inputs: Sequence[int],
        outputs: Sequence[int],
        scales: Sequence[int],
        kernel: int = 3,
    ) -> None:
        super().__init__()
        self.scales = scales
        self.convs = nn.ModuleDict()
        self.terms: list[list[tuple[int, Path, str]]] = [[] for _ in outputs]
        """For each output branch: its input branches, with path and name of the convolution ("": identity)."""
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
        """Applies the layer; a branch that is handed on as it is stays the same tensor, not a copy."""
        outputs = []
        for i, terms in enumerate(self.terms):
            first, *others = (self._term(features, i, *term) for term in terms)
            outputs.append(sum(others, start=first))
        return outputs

    def _term(self, features: Features, i: int, j: int, path: Path, name: str) -> Tensor:
        x = features[j]
        if not name:
            return x
        size = size_at(features[0], self.scales[i])
        # Within a branch only D2 and U2 resample (section 3.3); branches of one size need no resampling between them.
        factor = 2 if i == j else 2 ** abs(self.scales[i] - self.scales[j])
        if path.before and factor > 1:
            x = RESAMPLE[path.before](x, factor, size)
        layer = cast(nn.Conv2d, self.convs[name])
        if path.dilation == 1:
            x = layer(x)
        else:  # a shared layer is used with more than one dilation
            padding = path.dilation * (layer.kernel_size[0] // 2)
            x = F.conv2d(x, layer.weight, layer.bias, padding=padding, dilation=path.dilation)
        return RESAMPLE[path.after](x, factor, size) if path.after and factor > 1 else x


def size_at(finest: Tensor, scale: int) -> tuple[int, int]:
    """Height and width at a scale of a pyramid, where `finest` (..., H, W) is scale 0."""
    height, width = finest.shape[-2:]
    factor = 2**scale  # rounded up without negative numbers, which ONNX's division rounds in another way
    return (height + factor - 1) // factor, (width + factor - 1) // factor


def rectify(inputs: Features, outputs: Features) -> Features:
    """ReLU of a layer's outputs, except for branches that the layer handed on as they were."""
    return [y if y is x else F.relu(y) for x, y in zip(inputs, outputs, strict=True)]


def add(inputs: Features, outputs: Features) -> Features:
    """Sum of a layer's inputs and outputs, except for branches that the layer handed on as they were."""
    return [x if y is x else x + y for x, y in zip(inputs, outputs, strict=True)]


@dataclass(frozen=True)
class Branches:
    """The branches that a network's features are split into, and the transformation between them."""

    transformation: Transformation
    widths: tuple[int, ...]
    """Channels per branch."""
    scales: tuple[int, ...]
    """Scale of each branch in the pyramid: at scale s sides are 2^s times smaller than the image's."""

    @classmethod
    def of(cls, config: MsConvConfig) -> "Branches":
        """Makes the branches that a network's parameters ask for."""
        transformation, units, branches = TRANSFORMATIONS[config.conv], config.units, config.branches
        assert branches is not None  # the config has put the usual number in its place
        if transformation.same_size:
            return cls(transformation, (units // 2,) * 2, (0, 0))
        low = round(config.alpha * units)
        widths = (units,) if branches == 1 else (units - low,) + (low,) * (branches - 1)
        return cls(transformation, widths, tuple(range(branches)))

    def layer(self, inputs: int = 1, outputs: int = 1, kernel: int = 3) -> MultiScaleConv:
        """Makes a layer that takes `inputs` times and gives `outputs` times the branches' channels."""
        wide = {times: [times * width for width in self.widths] for times in (inputs, outputs)}
        return MultiScaleConv(self.transformation, wide[inputs], wide[outputs], self.scales, kernel)


class ResidualBlock(nn.Module):
    """Residual block of two multi-scale layers: x + W(ReLU(W(x))), per branch."""

    def __init__(self, branches: Branches) -> None:
        super().__init__()
        self.first, self.second = branches.layer(), branches.layer()

    def forward(self, features: Features) -> Features:
        return add(features, self.second(rectify(features, self.first(features))))


class MultiScaleUpsampler(nn.Module):
    """Enlarges the features of all branches by the network's upscaling factor.

    For each prime factor of it: a layer to factor^2 times the channels, pixel shuffle, ReLU.
    """

    def __init__(self, branches: Branches, scale: int) -> None:
        super().__init__()
        self.scales = branches.scales
        self.factors = prime_factors(scale)
        self.layers = nn.ModuleList(branches.layer(outputs=factor**2) for factor in self.factors)

    def forward(self, features: Features) -> Features:
        for factor, layer in zip(self.factors, self.layers, strict=True):
            features = [F.relu(F.pixel_shuffle(y, factor)) for y in layer(features)]
            # Sides need not match: 3 pixels have 2 at the next scale, enlarged they are 6 and 4, but 6 pixels have 3.
            sizes = (size_at(features[0], s) for s in self.scales)
            features = [y[..., :height, :width] for y, (height, width) in zip(features, sizes, strict=True)]
        return features


class MultiScaleNetwork(RestorationNetwork):
    """Base class of SRResNet and CARN (section 4, figure 3): their first layer, up-sampling and two last layers.

    The first layer sees the image pooled to each branch's size. After the up-sampling, the branches are aggregated:
    a 3x3 convolution of each to `units` channels, up-sampled and summed; ReLU; a 3x3 convolution to the image.
    Subclasses implement `body`, the layers at the input's resolution.
    """

    def __init__(self, config: MsConvConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        branches, units = Branches.of(config), config.units
        self.first = MultiScaleConv(SPLIT, [channels], branches.widths, branches.scales)
        self.upsampler = MultiScaleUpsampler(branches, scale)
        self.merge = MultiScaleConv(MERGE, branches.widths, [units], branches.scales)
        self.last = conv(units, channels, 3)

    def restore(self, image: Tensor) -> Tensor:
        (merged,) = self.merge(self.upsampler(self.body(self.first([image]))))
        output: Tensor = self.last(F.relu(merged))
        return output

    def body(self, features: Features) -> Features:
        """Applies the layers at the input's resolution: features -> features of the same shapes."""
        raise NotImplementedError
