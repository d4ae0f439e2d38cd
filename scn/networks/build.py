"""What builds the networks of scn.networks, by name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from scn.core.errors import UserError
from scn.imaging.tasks import TASKS
from scn.networks import network_config
from scn.networks.base.enlarged import ARCNN, SRCNN, VDSR, DnCNN
from scn.networks.base.layers import RestorationNetwork
from scn.networks.base.residual import EDSR, WDSR
from scn.networks.ms_conv.carn import CARN
from scn.networks.ms_conv.srresnet import SRResNet
from scn.networks.replication.network import AdaptiveScaleWiseNetwork, ScaleWiseNetwork
from scn.networks.scn.ablations import PSPNetStyle, UNetStyle
from scn.networks.scn.network import SCN

BUILDERS: Mapping[str, Callable[..., RestorationNetwork]] = {
    "scn": SCN,
    "scn-baseline": WDSR,
    "scn-unshared": partial(SCN, shared=False),
    "scn-unshared-large": partial(SCN, shared=False),
    "scn-unet": UNetStyle,
    "scn-pspnet": PSPNetStyle,
    "srcnn": SRCNN,
    "vdsr": VDSR,
    "dncnn": DnCNN,
    "arcnn": ARCNN,
    "edsr": EDSR,
    "wdsr": WDSR,
    "srresnet": SRResNet,
    "carn": CARN,
    "scalewise-original": ScaleWiseNetwork,
    "scalewise-adaptive": AdaptiveScaleWiseNetwork,
}
"""Name -> what takes the parameters that scn.networks lists under it, `channels` and `scale`."""


LARGEST_SCALE = TASKS["sr"].level_range[1]
"""Upscaling factor."""


def build(architecture: Mapping[str, Any], seed: int | None = None) -> RestorationNetwork:
    """The network that `architecture` (config.Experiment.architecture) describes.

    Args:
        architecture: `name`, parameters of that network, `channels` and `scale`; what is left out is the network's
            default, 3 channels and scale 1.
        seed: makes the initial weights a function of it, without touching the global random state.
    Raises:
        UserError: for an unknown name, parameters that the network does not have, or values out of range.
    """
    parameters = dict(architecture)
    channels, scale = parameters.pop("channels", 3), parameters.pop("scale", 1)
    if type(channels) is not int or channels not in (1, 3):
        raise UserError(f"The network's images can't have {channels} channels: use 3 (RGB) or 1 (grey).")
    if type(scale) is not int or not 1 <= scale <= LARGEST_SCALE:
        raise UserError(f"The network can't enlarge {scale} times: use a whole number from 1 to {LARGEST_SCALE}.")
    config = network_config(parameters, "The network")
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return BUILDERS[config.name](**config.model_dump(exclude={"name"}), channels=channels, scale=scale)


def fold(network: nn.Module) -> nn.Module:
    """Folds weight normalisation into plain weights, in place: the same function, for inference."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            trained = all(parameter.requires_grad for parameter in module.parameters())
            # What asks for no gradients would become a buffer, and no parameter any more.
            parametrize.remove_parametrizations(module.requires_grad_(), "weight", leave_parametrized=True)
            module.requires_grad_(trained)
    return network
