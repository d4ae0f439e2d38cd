"""EDSR is its equation, at the printed sizes."""

import pytest
import torch

from scn.core.errors import UserError
from scn.networks.build import build


@pytest.mark.parametrize(("scale", "parameters"), [(2, 1_369_859), (4, 1_517_571)])
def test_parameters_are_the_printed_ones(scale: int, parameters: int) -> None:
    """1.37 M and 1.52 M, as later papers give them; Lim et al. 2017, table 1, print 1.5 M."""
    assert sum(p.numel() for p in build({"name": "edsr", "scale": scale}).parameters()) == parameters


def test_the_mean_of_colours_is_for_colours() -> None:
    with pytest.raises(UserError, match="The network: mean: div2k is that of images with 3 channels: use half with 1"):
        build({"name": "edsr", "mean": "div2k", "channels": 1})


def test_it_is_its_equation() -> None:
    network = build({"name": "edsr", "blocks": 2, "units": 6, "residual_scaling": 0.1, "scale": 2}, seed=0)
    head, body, up, tail = (network.get_submodule(part) for part in ("head", "body", "up", "tail"))
    image = torch.rand(1, 3, 6, 5)
    features = head(image - 0.5)
    torch.testing.assert_close(network(image), tail(up(features + body(features))) + 0.5)
