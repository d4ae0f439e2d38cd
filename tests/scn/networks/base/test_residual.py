"""Residual blocks are their equation."""

import torch
import torch.nn.functional as F

from scn.networks.base.residual import ResidualBlock


def test_residual_scaling_is_of_the_residual_alone() -> None:
    block, x = ResidualBlock(4, width=3, scaling=0.1), torch.rand(1, 4, 5, 5)
    assert block.expand.weight.shape == (12, 4, 3, 3)
    torch.testing.assert_close(block(x), x + 0.1 * block.project(F.relu(block.expand(x))))
