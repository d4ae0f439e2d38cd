"""ARCNN has the paper's layers."""

import pytest
from torch import nn

from scn.core.errors import UserError
from scn.networks.build import build


def test_the_layers_are_the_papers() -> None:
    """9-7-1-5 with 64, 32 and 16 filters (section 3.2)."""
    layers = [layer for layer in build({"name": "arcnn", "channels": 1}).modules() if isinstance(layer, nn.Conv2d)]
    assert [(layer.out_channels, layer.kernel_size[0]) for layer in layers] == [(64, 9), (32, 7), (16, 1), (1, 5)]


def test_values_out_of_range_get_a_sentence() -> None:
    with pytest.raises(UserError, match="units: input should be a multiple of 4"):
        build({"name": "arcnn", "units": 6})
