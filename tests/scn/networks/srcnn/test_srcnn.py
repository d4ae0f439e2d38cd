"""SRCNN is its equation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scn.core.errors import UserError
from scn.networks.base.resample import bicubic
from scn.networks.build import build


def test_srcnn_sees_the_enlarged_image() -> None:
    network = build({"name": "srcnn", "units": 4, "channels": 1, "scale": 2}, seed=0)
    first, second, third = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    image = torch.rand(1, 1, 7, 5)
    features = F.relu(F.conv2d(bicubic(image, 2), first.weight, padding=4))
    features = F.relu(F.conv2d(features, second.weight, padding=2))
    torch.testing.assert_close(network(image), F.conv2d(features, third.weight, padding=2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"units": 9}, "units: input should be a multiple of 2"), ({"kernel": 2}, "kernel: input should be 1, 3 or 5")],
)
def test_values_out_of_range_get_a_sentence(parameters: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build({"name": "srcnn", **parameters})
