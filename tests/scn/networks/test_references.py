"""The references compute what their papers say, at the sizes printed; what holds for every network holds for them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.imaging.degradation import bicubic_upscale
from scn.inference.model_files import load_model, save_model
from scn.networks.base.resample import bicubic
from scn.networks.base.residual import ResidualBlock
from scn.networks.build import build, fold
from scn.networks.profile import count_macs

SMALL: dict[str, dict[str, Any]] = {
    "srcnn": {"units": 8, "kernel": 3},
    "arcnn": {"units": 8},
    "vdsr": {"layers": 4, "units": 6},
    "dncnn": {"layers": 4, "units": 6},
    "edsr": {"blocks": 2, "units": 6, "residual_scaling": 0.1},
    "wdsr": {"blocks": 2, "units": 6, "width": 2},
    "scalewise-original": {"blocks": 2, "units": 6, "scales": 3},
    "scalewise-adaptive": {"blocks": 2, "units": 6, "scales": 3},
}
each_network = pytest.mark.parametrize("name", SMALL)


def small(name: str, channels: int = 3, scale: int = 1) -> dict[str, Any]:
    return {"name": name, **SMALL[name], "channels": channels, "scale": scale}


@pytest.mark.parametrize(("scale", "channels"), [(1, 1), (2, 3), (3, 1), (4, 3)])
@each_network
def test_forward_and_backward(name: str, scale: int, channels: int) -> None:
    network = build(small(name, channels, scale), seed=1)
    output = network(torch.rand(2, channels, 19, 13))
    assert output.shape == (2, channels, 19 * scale, 13 * scale)
    (output * torch.rand_like(output)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 2)])
@each_network
def test_the_smallest_images(name: str, size: tuple[int, int]) -> None:
    network = build(small(name, scale=2), seed=1)
    output = network(torch.rand(2, 3, *size))
    output.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.eval()(torch.rand(1, 3, *size)).shape == (1, 3, 2 * size[0], 2 * size[1])


@each_network
def test_neither_the_batch_nor_the_layout_in_memory_changes_the_output(name: str) -> None:
    network = build(small(name, scale=2), seed=1).eval()
    images = torch.rand(3, 3, 11, 8)
    with torch.inference_mode():
        expected = network(images)
        for output in (
            torch.cat([network(image[None]) for image in images]),
            network.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last)),
        ):
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


@each_network
def test_a_trained_network_is_saved_whole(name: str, tmp_path: Path) -> None:
    architecture = small(name, channels=1, scale=2)
    network, same = build(architecture, seed=3), build(architecture, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    network(torch.rand(2, 1, 9, 7)).square().mean().backward()  # running statistics of batch normalisation move
    optimizer.step()
    image = torch.rand(1, 1, 9, 7)
    with torch.inference_mode():
        expected = network.eval()(image)
        save_model(tmp_path, network, architecture, {})
        loaded, _ = load_model(tmp_path)
        torch.testing.assert_close(loaded(image), expected, atol=1e-6, rtol=0)
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[key]), key


@pytest.mark.parametrize(
    ("name", "scale", "weights", "macs"),
    [
        # MS-Conv paper, supplementary table 1, at x4: SRCNN 57K, 14.99G; VDSR 665K, 174.25G.
        ("srcnn", 4, 57_184, 14_990_442_496),
        ("vdsr", 4, 664_704, 174_248_165_376),
        ("arcnn", 1, 106_448, 106_448 * 128**2),
        ("dncnn", 1, 554_112, 554_112 * 128**2),
    ],
)
def test_weights_and_multiply_adds_of_one_channel(name: str, scale: int, weights: int, macs: int) -> None:
    architecture = {"name": name, "channels": 1, "scale": scale}
    convolutions = [layer for layer in build(architecture).modules() if isinstance(layer, nn.Conv2d)]
    assert sum(layer.weight.numel() for layer in convolutions) == weights
    assert count_macs(architecture, 128, 128) == macs


@pytest.mark.parametrize(
    ("name", "scale", "parameters"),
    [
        # Lim et al. 2017, table 1, and the repository of WDSR's authors, which prints 1,190,100.
        ("edsr", 2, 1_369_859),
        ("edsr", 4, 1_517_571),
        ("wdsr", 2, 1_190_100),
    ],
)
def test_parameters_of_three_channels(name: str, scale: int, parameters: int) -> None:
    network = build({"name": name, "channels": 3, "scale": scale})
    assert sum(p.numel() for p in network.parameters()) == parameters


def last_layer(network: nn.Module) -> nn.Conv2d:
    layer = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, 0.25)
    return layer


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize(("name", "sign"), [("srcnn", 0), ("arcnn", 0), ("vdsr", 1), ("dncnn", -1)])
def test_what_the_last_layer_predicts(name: str, sign: int, scale: int) -> None:
    """SRCNN and ARCNN the image, VDSR what the enlarged image lacks, DnCNN its noise."""
    network = build(small(name, scale=scale))
    last_layer(network)
    image = torch.rand(2, 3, 6, 5)
    expected = 0.25 if sign == 0 else bicubic(image, scale) + sign * 0.25
    assert torch.equal(network(image), torch.as_tensor(expected).expand(2, 3, 6 * scale, 5 * scale))


def test_srcnn_sees_the_enlarged_image() -> None:
    network = build({"name": "srcnn", "units": 4, "channels": 1, "scale": 2}, seed=0)
    first, second, third = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    image = torch.rand(1, 1, 7, 5)
    features = F.relu(F.conv2d(bicubic(image, 2), first.weight, padding=4))
    features = F.relu(F.conv2d(features, second.weight, padding=2))
    torch.testing.assert_close(network(image), F.conv2d(features, third.weight, padding=2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_dncnn_normalises_all_but_the_first_and_the_last_layer(batch_norm: bool) -> None:
    network = build({"name": "dncnn", "layers": 5, "units": 4, "batch_norm": batch_norm})
    kinds = [type(layer).__name__ for layer in network.get_submodule("layers")]
    inner = ["Convolution", "BatchNorm2d", "ReLU"] if batch_norm else ["Convolution", "ReLU"]
    assert kinds == ["Convolution", "ReLU", *inner * 3, "Convolution"]


def test_weights_start_as_he_et_al_draw_them() -> None:
    network = build({"name": "vdsr", "layers": 3, "units": 64}, seed=0)
    weight = network.state_dict()["layers.2.weight"]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert network.state_dict()["layers.2.bias"].abs().max() == 0


def test_edsr_and_wdsr_are_their_equations() -> None:
    image = torch.rand(1, 3, 6, 5)
    edsr = build(small("edsr", scale=2), seed=0)
    head, body, up, tail = (edsr.get_submodule(part) for part in ("head", "body", "up", "tail"))
    features = head(image - 0.5)
    torch.testing.assert_close(edsr(image), tail(up(features + body(features))) + 0.5)
    wdsr = fold(build(small("wdsr", scale=2), seed=0))
    head, trunk, tail, skip = (wdsr.get_submodule(part) for part in ("head", "trunk", "tail", "skip"))
    low = tail(trunk(head(image - 0.5))) + skip(image - 0.5)
    torch.testing.assert_close(wdsr(image), F.pixel_shuffle(low, 2) + 0.5)
    assert skip.weight.shape == (12, 3, 5, 5)


def test_residual_scaling_is_of_the_residual_alone() -> None:
    block, x = ResidualBlock(4, width=3, scaling=0.1), torch.rand(1, 4, 5, 5)
    assert block.expand.weight.shape == (12, 4, 3, 3)
    torch.testing.assert_close(block(x), x + 0.1 * block.project(F.relu(block.expand(x))))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"name": "srcnn", "units": 9}, "units: input should be a multiple of 2"),
        ({"name": "arcnn", "units": 6}, "units: input should be a multiple of 4"),
        ({"name": "srcnn", "kernel": 2}, "kernel: input should be 1, 3 or 5"),
        ({"name": "vdsr", "blocks": 20}, "'blocks' is no known key"),
    ],
)
def test_values_out_of_range_get_a_sentence(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(parameters)


def exact_bicubic(image: Tensor, scale: int) -> Tensor:
    """MATLAB's imresize by its definition, in float64: one output pixel after the other."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    for dim in (2, 3):
        size, lines = image.shape[dim], list(image.double().unbind(dim))
        mirrored = [*lines, *reversed(lines)]
        enlarged = []
        for i in range(size * scale):
            centre = (i + 0.5) / scale - 0.5
            taps = range(math.floor(centre) - 2, math.floor(centre) + 4)
            enlarged.append(sum((kernel(centre - tap) * mirrored[tap % (2 * size)] for tap in taps), torch.zeros(())))
        image = torch.stack(enlarged, dim)
    return image


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 7), (19, 13)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
def test_bicubic_is_matlabs(size: tuple[int, int], scale: int) -> None:
    image = torch.rand(2, 3, *size)
    torch.testing.assert_close(bicubic(image, scale), exact_bicubic(image, scale).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_the_one_that_degrades_to_its_rounding(scale: int) -> None:
    """Between 60 and 190 nothing is clipped; rounding both passes moves a pixel by less than 1.2 levels."""
    pixels = np.random.default_rng(scale).integers(60, 190, (21, 17), dtype=np.uint8)
    for image, most in ((np.repeat(pixels[:, :1], 17, axis=1), 0.5), (pixels, 1.2)):
        enlarged = bicubic(torch.from_numpy(image).float()[None, None], scale)[0, 0].numpy()
        assert np.abs(enlarged - bicubic_upscale(image, scale)).max() <= most + 1e-4


def test_bicubic_stays_in_float32_under_autocast() -> None:
    image = torch.rand(1, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output = bicubic(image, 2)
    assert torch.equal(output, bicubic(image, 2))
