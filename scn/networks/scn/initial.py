"""The initial weights of SCN's authors.

The paper does not print them. In the golden vectors of the authors' network, whose weights are random, the gains of
weight normalisation lie around these values, and those of q_i around PyTorch's own, 0.58.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from scn.networks.base.wide import WideNetwork
from scn.networks.scn.scale_wise import ScaleWiseConv


def begin_as_authors(network: WideNetwork, blocks: int) -> None:
    """Sets the norm of every filter, the gain g of weight normalisation w = g v / |v|, and the biases to 0.

    g is 1 in head, tail and skip, 2 in every block's first convolution, and 1 / sqrt(blocks) in p, so that the more
    blocks there are, the smaller is a residual. The q_i, g_i and strided resamplings keep PyTorch's.
    """
    for layer in (network.head, network.tail, network.skip):
        if layer is not None:
            _set_norm(layer, 1)
    for block in network.trunk.modules():
        if isinstance(scale_wise := getattr(block, "scale_wise", None), ScaleWiseConv):
            _set_norm(block.get_submodule("expand"), 2)
            _set_norm(scale_wise.spatial, blocks**-0.5)


@torch.no_grad()
def _set_norm(layer: nn.Module, norm: float) -> None:
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(layer.bias, Tensor)
    if is_parametrized(layer, "weight"):
        gain: Tensor = layer.parametrizations.weight.original0  # type: ignore[union-attr, assignment]
        gain.fill_(norm)
    else:
        layer.weight.mul_(norm / torch.linalg.vector_norm(layer.weight, dim=(1, 2, 3), keepdim=True))
    layer.bias.zero_()
