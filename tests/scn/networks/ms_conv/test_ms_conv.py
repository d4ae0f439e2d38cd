"""A multi-scale unit is its equation, at every size; each is evaluated here a second time, straight from the paper."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.ms_conv.config import Conv, SrresnetConfig
from scn.networks.ms_conv.layers import RESAMPLE, Branches, MultiScaleConv, size_at
from scn.networks.ms_conv.transformations import TRANSFORMATIONS, Resampling, Transformation, W

Equation = Callable[..., list[Tensor]]
"""(w, inputs of the branches) -> outputs; w(name, x, dilation=1) applies the unit's convolution of that name."""


def cells(x: Tensor, factor: int, fill: float) -> Tensor:
    """Gathers the pixels of each cell: (N, C, h, w, factor * factor), with `fill` where there are none."""
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % factor, 0, -height % factor), value=fill)
    n, c, height, width = x.shape
    x = x.reshape(n, c, height // factor, factor, width // factor, factor).transpose(3, 4)
    return x.flatten(4)


def avg(x: Tensor, factor: int = 2) -> Tensor:
    return cells(x, factor, torch.nan).nanmean(-1)


def maximum(x: Tensor) -> Tensor:
    return cells(x, 2, -torch.inf).amax(-1)


def up(x: Tensor, like: Tensor, factor: int = 2) -> Tensor:
    x = x.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    return x[..., : like.shape[-2], : like.shape[-1]]


def pool_stride_1(x: Tensor) -> Tensor:
    """Mean of 2x2 pixels from each pixel to the right and down, of those that there are."""
    return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2, 1) / F.avg_pool2d(F.pad(torch.ones_like(x), (0, 1, 0, 1)), 2, 1)


def lossy(x: Tensor) -> Tensor:
    """Drops every second pixel (D2), then repeats those left (U2)."""
    return up(x[..., ::2, ::2], x)


def full(w: Callable[..., Tensor], h: Tensor, low: Tensor) -> list[Tensor]:
    return [w("0to0", h) + up(w("1to0", low), h), w("0to1", avg(h)) + w("1to1", low)]


def shared(w: Callable[..., Tensor], h: Tensor, low: Tensor) -> list[Tensor]:
    return [w("shared", h) + up(w("1to0", low), h), w("0to1", avg(h)) + w("shared", low)]


def dilated(f_ll: Callable[..., Tensor], own: str = "0to0") -> Equation:
    return lambda w, h, low: [w(own, h) + w("1to0", low), w("0to1", h) + f_ll(w, low)]


EQUATIONS: dict[str, Equation] = {
    "standard": lambda w, x: [w("0to0", x)],
    "ms": lambda w, h, low: [w("0to0", h), w("1to1", low)],
    "ms2": full,
    "ms2-no-lh": lambda w, h, low: [w("0to0", h), w("0to1", avg(h)) + w("1to1", low)],
    "ms2-no-hl": lambda w, h, low: [w("0to0", h) + up(w("1to0", low), h), w("1to1", low)],
    "ms3": shared,
    "ms3-l": shared,
    "octave": full,
    "multigrid": lambda w, h, m, low: [
        w("0to0", h) + w("1to0", up(m, h)),
        w("0to1", maximum(h)) + w("1to1", m) + w("2to1", up(low, m)),
        w("1to2", maximum(m)) + w("2to2", low),
    ],
    "unet": lambda w, h, low: [h, w("1to1", low)],
    "dilated": dilated(lambda w, x: w("1to1", x, 2)),
    "dilated-shared": dilated(lambda w, x: w("shared", x, 2), "shared"),
    "dilated-lossy": dilated(lambda w, x: lossy(w("1to1", x, 2))),
    "dilated-pooled": dilated(lambda w, x: lossy(w("1to1", pool_stride_1(x), 2))),
}


def make(conv: str, branches: int | None = None, units: int = 8, alpha: float = 0.5, kernel: int = 3) -> MultiScaleConv:
    torch.manual_seed(0)
    config = SrresnetConfig(conv=conv, branches=branches, units=units, alpha=alpha)
    return Branches.of(config).layer(kernel=kernel)


def inputs_of(unit: MultiScaleConv, widths: list[int], size: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    finest = torch.empty(2, 1, *size)
    return [
        torch.randn(2, width, *size_at(finest, scale), generator=generator)
        for width, scale in zip(widths, unit.scales, strict=True)
    ]


def apply(unit: MultiScaleConv) -> Callable[..., Tensor]:
    def w(name: str, x: Tensor, dilation: int = 1) -> Tensor:
        layer = unit.convs[name]
        return F.conv2d(x, layer.weight, layer.bias, padding=dilation * (layer.kernel_size[0] // 2), dilation=dilation)

    return w


def assert_equation(unit: MultiScaleConv, inputs: list[Tensor], equation: Equation) -> None:
    with torch.no_grad():
        outputs, expected = unit(inputs), equation(apply(unit), *inputs)
    assert len(outputs) == len(expected)
    for output, right in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, right, atol=2e-6, rtol=0)


def test_every_convolution_is_tested_and_every_resampling_computed() -> None:
    assert TRANSFORMATIONS.keys() == EQUATIONS.keys() == set(get_args(Conv))
    assert RESAMPLE.keys() == set(get_args(Resampling))


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(8, 12), (7, 10), (5, 3), (1, 1), (1, 4)])
@pytest.mark.parametrize("conv", EQUATIONS)
def test_a_unit_is_its_equation(conv: str, size: tuple[int, int], kernel: int) -> None:
    unit = make(conv, kernel=kernel)
    widths = [4] * len(unit.scales) if conv != "standard" else [8]
    assert_equation(unit, inputs_of(unit, widths, size), EQUATIONS[conv])
    cross = {layer.kernel_size for name, layer in unit.convs.items() if name in ("0to1", "1to0")}
    assert cross <= ({(1, 1)} if conv == "ms3" else {(kernel, kernel)})


@pytest.mark.parametrize("size", [(16, 8), (13, 9), (1, 1)])
def test_every_branch_talks_to_every_other(size: tuple[int, int]) -> None:
    def equation(w: Callable[..., Tensor], *x: Tensor) -> list[Tensor]:
        def path(i: int, j: int) -> Tensor:
            if i == j:
                return w("shared", x[i])
            name, factor = f"{j}to{i}", 2 ** abs(i - j)
            return w(name, avg(x[j], factor)) if i > j else up(w(name, x[j]), x[i], factor)

        return [torch.stack([path(i, j) for j in range(4)]).sum(0) for i in range(4)]

    unit = make("ms3", branches=4)
    assert_equation(unit, inputs_of(unit, [4] * 4, size), equation)


def test_octave_splits_the_channels_by_alpha() -> None:
    unit = make("octave", units=8, alpha=0.25)
    assert_equation(unit, inputs_of(unit, [6, 2], (6, 5)), full)


@pytest.mark.parametrize("conv", [conv for conv, row in TRANSFORMATIONS.items() if row.fewest == 1])
def test_one_branch_is_an_ordinary_convolution(conv: str) -> None:
    if conv.startswith("dilated"):
        # With dilation 1 in the place of the function that is studied, the two branches are one convolution.
        unit = MultiScaleConv(Transformation(((W, W), (W, W)), same_size=True), [4, 4], [4, 4], (0, 0))
        rows = [[unit.convs[f"{j}to{i}"] for j in range(2)] for i in range(2)]
        weight = torch.cat([torch.cat([layer.weight for layer in row], 1) for row in rows])
        bias = torch.cat([row[0].bias + row[1].bias for row in rows])
    else:
        unit = make(conv, branches=1)
        (layer,) = unit.convs.values()
        weight, bias = layer.weight, layer.bias
    ordinary = nn.Conv2d(8, 8, 3, padding=1)
    ordinary.load_state_dict({"weight": weight, "bias": bias})
    x = torch.randn(2, 8, 5, 6)
    parts = list(x.chunk(len(unit.scales), 1))
    torch.testing.assert_close(torch.cat(unit(parts), 1), ordinary(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2)])
def test_a_dilated_convolution_is_one_at_half_the_size(size: tuple[int, int]) -> None:
    """The two equalities of the MS-Conv paper, section 3.3, hold at every pixel."""
    x, weight = torch.randn(1, 3, *size, dtype=torch.float64), torch.randn(3, 3, 3, 3, dtype=torch.float64)
    down_first = up(F.conv2d(x[..., ::2, ::2], weight, padding=1), x)
    torch.testing.assert_close(down_first, lossy(F.conv2d(x, weight, padding=2, dilation=2)))
    pooled = up(F.conv2d(F.avg_pool2d(x, 2, ceil_mode=True), weight, padding=1), x)
    torch.testing.assert_close(pooled, lossy(F.conv2d(pool_stride_1(x), weight, padding=2, dilation=2)))


def test_an_identity_is_no_copy_and_has_no_weights() -> None:
    unit = make("unet")
    inputs = inputs_of(unit, [4, 4], (6, 6))
    assert unit(inputs)[0] is inputs[0]
    assert set(unit.convs) == {"1to1"}
