"""The networks at the output's size: the printed sizes, what the last layer predicts, and how weights start."""

import math

import pytest
import torch
from fingerprints import SMALL
from torch import nn

from scn.networks.base.resample import bicubic
from scn.networks.build import build
from scn.networks.profile import count_macs


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


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize(("name", "sign"), [("srcnn", 0), ("arcnn", 0), ("vdsr", 1), ("dncnn", -1)])
def test_what_the_last_layer_predicts(name: str, sign: int, scale: int) -> None:
    """SRCNN and ARCNN predict the image, VDSR what the enlarged image lacks, DnCNN its noise."""
    network = build({"name": name, **SMALL[name][0], "channels": 3, "scale": scale})
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.constant_(last.bias, 0.25)
    image = torch.rand(2, 3, 6, 5)
    expected = 0.25 if sign == 0 else bicubic(image, scale) + sign * 0.25
    assert torch.equal(network(image), torch.as_tensor(expected).expand(2, 3, 6 * scale, 5 * scale))


def test_weights_start_as_he_et_al_draw_them() -> None:
    network = build({"name": "vdsr", "layers": 3, "units": 64}, seed=0)
    weight = network.state_dict()["layers.2.weight"]
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert network.state_dict()["layers.2.bias"].abs().max() == 0
