"""WDSR is its equation, at the printed size."""

import torch
import torch.nn.functional as F

from scn.networks.build import build, fold


def test_parameters_are_the_printed_ones() -> None:
    """The repository of WDSR's authors prints 1,190,100."""
    assert sum(p.numel() for p in build({"name": "wdsr", "scale": 2}).parameters()) == 1_190_100


def test_it_is_its_equation() -> None:
    network = fold(build({"name": "wdsr", "blocks": 2, "units": 6, "width": 2, "scale": 2}, seed=0))
    head, trunk, tail, skip = (network.get_submodule(part) for part in ("head", "trunk", "tail", "skip"))
    image = torch.rand(1, 3, 6, 5)
    low = tail(trunk(head(image - 0.5))) + skip(image - 0.5)
    torch.testing.assert_close(network(image), F.pixel_shuffle(low, 2) + 0.5)
    assert skip.weight.shape == (12, 3, 5, 5)
