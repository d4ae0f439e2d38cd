"""What a network costs: parameters, multiply-adds, memory, and how far it sees."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scn.models import build
from scn.models.layers import RestorationNetwork


def count_macs(network: RestorationNetwork | Mapping[str, Any], height: int, width: int) -> int:
    """Multiply-adds of all convolutions for one image of height x width pixels, in inference.

    As the MS-Conv paper counts (section 4): resampling, additions, activations and normalisation are left out.
    Nothing is computed (PyTorch's meta device), so large images cost nothing.

    Args:
        network: the network, which stays as it is, or its architecture, as for scn.models.build.
    Raises:
        UserError: for an architecture that can't be built, or an image that the network does not take.
    """
    network = on_meta(network)
    image = torch.empty(1, network.channels, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    counts = counter.get_flop_counts().get("Global", {})
    return sum(flops for operation, flops in counts.items() if "convolution" in str(operation)) // 2


def on_meta(network: RestorationNetwork | Mapping[str, Any]) -> RestorationNetwork:
    """The network in eval mode, without numbers: a copy on the meta device."""
    if isinstance(network, nn.Module):
        return copy.deepcopy(network).to("meta").eval()
    with torch.device("meta"):
        return build(network).eval()
