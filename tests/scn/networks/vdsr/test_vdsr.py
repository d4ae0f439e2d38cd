"""VDSR is its equation."""

import pytest
import torch

from scn.core.errors import UserError
from scn.networks.base.resample import bicubic
from scn.networks.build import build


def test_it_adds_a_residual_to_the_enlarged_image() -> None:
    network = build({"name": "vdsr", "layers": 3, "units": 4, "channels": 1, "scale": 2}, seed=0)
    enlarged = bicubic(torch.rand(1, 1, 7, 5), 2)
    layers = network.get_submodule("layers")
    assert [type(layer).__name__ for layer in layers] == ["Convolution", "ReLU"] * 2 + ["Convolution"]
    torch.testing.assert_close(network.combine(enlarged, layers(enlarged)), enlarged + layers(enlarged))


def test_values_out_of_range_get_a_sentence() -> None:
    with pytest.raises(UserError, match="'blocks' is no known key"):
        build({"name": "vdsr", "blocks": 20})
