"""Scale-wise convolution is its equation, with every choice of h, q, p and ends."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.inference.model_files import load_model, save_model
from scn.networks.build import build, create_model
from scn.networks.scn.config import ScnConfig
from scn.networks.scn.network import SCN
from scn.networks.scn.scale_wise import ScaleWiseConv

CHOICES: list[dict[str, Any]] = [
    {"kernel": kernel, "factorised": factorised, "resampling": resampling, "ends": ends}
    for kernel in (3, 5)
    for factorised in (True, False)
    for resampling in ("bilinear", "pooling", "strided")
    for ends in ("published", "zero", "replicate")
    if (resampling, ends) != ("strided", "replicate")
]
SMALL = {"name": "scn", "blocks": 2, "units": 4, "width": 2, "scales": 3}


def pyramid(scales: int, side: int = 16, channels: int = 6) -> list[Tensor]:
    draw = torch.Generator().manual_seed(scales)
    return [torch.randn(2, channels, side >> s, 2 * side >> s, generator=draw) for s in range(scales)]


def equation(conv: ScaleWiseConv, x: list[Tensor], s: int) -> Tensor:
    """Sum over i of h_i(g_i(x_{s+i})), or of h_i(q_i(p(x_{s+i}))), in the order in which it is written."""
    result = conv.spatial(x[s])
    for i in range(-conv.reach, conv.reach + 1):
        if i == 0:
            continue
        name, t = (f"finer{-i}" if i < 0 else f"coarser{i}"), s + i
        if not 0 <= t < len(x):
            if conv.ends == "published":
                result = result + conv.spatial(x[s])
            if conv.ends != "replicate":
                continue
            t = 0 if t < 0 else len(x) - 1
        q: Callable[[Tensor], Tensor] = conv.cross[name] if name in conv.cross else nn.Identity()
        y = q(conv.spatial(x[t])) if conv.factorised else conv.cross[name](x[t])
        if conv.resampling == "strided":
            y = conv.resample[name](y)
        elif conv.resampling == "bilinear":
            y = F.interpolate(y, size=x[s].shape[-2:], mode="bilinear", align_corners=True)
        elif t < s:
            y = F.avg_pool2d(y, 2 ** (s - t))
        elif t > s:
            y = F.interpolate(y, scale_factor=2 ** (t - s), mode="nearest")
        result = result + y
    return result


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.parametrize("scales", [1, 2, 4])
def test_equals_its_equation(choice: dict[str, Any], scales: int) -> None:
    torch.manual_seed(0)
    conv, x = ScaleWiseConv(6, 4, ScnConfig(**choice)), pyramid(scales)
    expected = [equation(conv, x, s) for s in range(scales)]
    for y, wanted in zip(conv(x), expected, strict=True):
        torch.testing.assert_close(y, wanted, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():  # sums in place
        for y, wanted in zip(conv(x), expected, strict=True):
            torch.testing.assert_close(y, wanted, atol=1e-5, rtol=1e-5)


def test_the_same_convolution_slides_along_scale() -> None:
    torch.manual_seed(0)
    conv = ScaleWiseConv(6, 4, ScnConfig(resampling="pooling", ends="zero"))
    x = pyramid(4)
    inner = conv(x[1:])[1]  # scale 2 of the whole, with the same neighbours
    torch.testing.assert_close(inner, conv(x)[2])


def test_factorising_costs_few_parameters() -> None:
    def count(**choice: Any) -> int:
        config = ScnConfig(weight_norm=False, **choice)
        return sum(p.numel() for p in ScaleWiseConv(128, 32, config).parameters())

    spatial, point = 128 * 32 * 9 + 32, 32 * 32 + 32
    assert count() == spatial + 2 * point
    assert count(factorised=False) == 3 * spatial
    assert count(kernel=5) == spatial + 4 * point


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.parametrize("shared", [True, False])
def test_every_network_of_them_trains(choice: dict[str, Any], shared: bool) -> None:
    network = build({**SMALL, **choice, "shared": shared, "scale": 2}, seed=0)
    for size in ((19, 13), (1, 1)):
        network.zero_grad()
        network(torch.rand(1, 3, *size)).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name


def test_a_kernel_as_wide_as_the_pyramid_reads_all_its_layers() -> None:
    """Wider, some would be read by nothing, unless the ends are replicated."""
    for choice in ({"kernel": 5}, {"kernel": 7, "ends": "replicate"}, {"kernel": 5, "ends": "zero", "scales": 4}):
        network = build({**SMALL, "blocks": 3, **choice})
        assert isinstance(network, SCN)
        first = network.trunk.get_submodule("blocks.0")
        assert all(parameter.requires_grad for parameter in first.parameters()), choice


@pytest.mark.parametrize("scales", [1, 2, 5])
@pytest.mark.parametrize("shared", [True, False])
def test_scales_that_reach_nothing_change_nothing(scales: int, shared: bool) -> None:
    """Computed to the end, scale by scale, the result is the same."""
    network = build({**SMALL, "scales": scales, "shared": shared}, seed=0)
    assert isinstance(network, SCN)
    trunk, image = network.trunk, torch.rand(1, 3, 32, 32)
    x = network.head(image - 0.5)
    maps = [x]
    for _ in range(1, scales):
        size = (maps[-1].shape[-2] // 2, maps[-1].shape[-1] // 2)
        maps.append(F.interpolate(maps[-1], size=size, mode="bilinear", align_corners=True))
    for block in trunk.blocks:
        parts = block.per_scale(scales)  # type: ignore[operator,union-attr]
        wide = [F.relu(part.expand(x)) for part, x in zip(parts, maps, strict=True)]
        own = [part.scale_wise.spatial(x) for part, x in zip(parts, wide, strict=True)]
        maps = [part.scale_wise.at_scale(s, wide, own, maps[s]) for s, part in enumerate(parts)]
    torch.testing.assert_close(network(image), network.tail(maps[0]) + image, atol=1e-5, rtol=0)


def test_without_weight_normalisation_there_are_no_gains() -> None:
    plain, normalised = (build({**SMALL, "weight_norm": on}) for on in (False, True))
    gains = sum(layer.out_channels for layer in plain.modules() if isinstance(layer, nn.Conv2d))
    count = [sum(p.numel() for p in network.parameters()) for network in (plain, normalised)]
    assert count[1] - count[0] == gains


def test_what_the_weights_do_not_allow_gets_a_sentence() -> None:
    unshared, strided, scn = (build({**SMALL, **more}) for more in ({"shared": False}, {"resampling": "strided"}, {}))
    assert isinstance(unshared, SCN)
    assert isinstance(strided, SCN)
    assert isinstance(scn, SCN)
    assert unshared.set_pyramid(scales=2)(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(UserError, match="weights for 3 scales, not 4"):
        unshared.set_pyramid(scales=4)
    with pytest.raises(UserError, match="only bilinear"):
        strided.set_pyramid(ratio=0.7)


@pytest.mark.parametrize(
    ("pyramid", "message"),
    [
        ({"scales": 0}, "scales: input should be greater than or equal to 1"),
        ({"scales": 2.5}, "scales: input should be a valid integer"),
        ({"scales": "6"}, "scales: input should be a valid integer"),
        ({"scales": True}, "scales: input should be a valid integer"),
        ({"scales": 12}, "scales: 12 of ratio 0.5 would pad every image to .* use at most 8"),
        ({"ratio": 1.0}, "ratio: input should be less than 1"),
        ({"ratio": math.nan}, "ratio: input should be a finite number"),
        ({"ratio": "half"}, "ratio: input should be a valid number"),
    ],
)
def test_an_impossible_pyramid_gets_a_sentence_and_changes_nothing(pyramid: dict[str, Any], message: str) -> None:
    network = build(SMALL)
    assert isinstance(network, SCN)
    before = (network.trunk.scales, network.trunk.ratio)
    with pytest.raises(UserError, match=f"The pyramid: {message}"):
        network.set_pyramid(**pyramid)
    assert (network.trunk.scales, network.trunk.ratio) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": 4}, "kernel: 4 is even"),
        ({"kernel": 1}, "kernel: input should be greater than or equal to 3"),
        ({"resampling": "pooling", "ratio": 0.7}, "ratio: pooling has only 1/2"),
        ({"resampling": "strided", "ends": "replicate"}, "ends: strided convolutions can't replicate"),
        ({"ratio": 1.0}, "ratio: input should be less than 1"),
    ],
)
def test_impossible_choices_get_a_sentence(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({**SMALL, **parameters})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kernel": 7}, "kernel: 7 covers more than a pyramid of 3 scales has .*: use at most 5, or more scales"),
        ({"kernel": 5, "scales": 1, "ends": "zero"}, "kernel: 5 covers .* 1 scales .*: use at most 3, or more scales"),
    ],
)
def test_no_new_network_has_a_kernel_wider_than_its_pyramid_and_one_that_was_trained_is_loaded(
    parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^The network: {message}"):
        create_model(**{**SMALL, **parameters})
    network, image = build({**SMALL, **parameters}, seed=0), torch.rand(1, 3, 20, 17)
    save_model(tmp_path, network, {**SMALL, **parameters}, {})
    torch.testing.assert_close(load_model(tmp_path)[0](image), network(image), atol=1e-6, rtol=0)
