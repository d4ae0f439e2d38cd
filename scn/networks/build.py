"""Builds the networks of the table (scn.networks) from their parameters."""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from scn.core.errors import UserError
from scn.imaging.tasks import TASKS
from scn.networks import NETWORKS, network_config
from scn.networks.base.layers import RestorationNetwork

LARGEST_SCALE = TASKS["sr"].level_range[1]
"""Largest upscaling factor that a network can be built for."""


def create_model(
    name: str, *, channels: int | None = None, scale: int | None = None, seed: int | None = None, **parameters: Any
) -> RestorationNetwork:
    """A new network with initial weights: float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    Args:
        name: the network, as `scn networks` lists it.
        channels: C, 3 (RGB) or 1 (grey); None: as in the figures of the network's paper.
        scale: s, the upscaling factor; None: as in the figures of the network's paper.
        seed: seed of the initial weights, which leaves the global random state alone; None: they are drawn from that.
        parameters: parameters of the network (`scn networks NAME` explains them); those left out have their defaults.
    Raises:
        UserError: for an unknown name, parameters that the network does not have, or values out of range.
    """
    config = network_config({**parameters, "name": name}, "The network")
    try:
        config.check_new()
    except ValueError as error:
        raise UserError(f"The network: {error}.") from None
    row = NETWORKS[config.name]
    return build(
        {
            **config.model_dump(),
            "channels": row.channels if channels is None else channels,
            "scale": row.scale if scale is None else scale,
        },
        seed,
    )


def build(architecture: Mapping[str, Any], seed: int | None = None) -> RestorationNetwork:
    """Builds the network that `architecture` describes, with initial weights.

    Args:
        architecture: `name`, parameters of that network, `channels` and `scale`
            (scn.config.params.Experiment.architecture); left out, they are the network's defaults, 3 channels and
            scale 1.
        seed: seed of the initial weights, which leaves the global random state alone; None: they are drawn from that.
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
    try:
        config.check_channels(channels)
    except ValueError as error:
        raise UserError(f"The network: {error}.") from None
    make = resolve_name(NETWORKS[config.name].implementation)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network: RestorationNetwork = make(config, channels=channels, scale=scale)
    return network


def build_on_meta(architecture: Mapping[str, Any]) -> RestorationNetwork:
    """Builds a network without numbers, on PyTorch's meta device; nothing is drawn. Errors are those of `build`."""
    with torch.device("meta"), _Undrawn():
        return build(architecture)


class _Undrawn(TorchFunctionMode):
    """Leaves out initial weights: to draw them on the meta device, PyTorch loads its compiler, for over a second."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def fold(network: nn.Module) -> nn.Module:
    """Folds weight normalisation into plain weights for inference, in place; the network's function stays the same."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            trained = all(parameter.requires_grad for parameter in module.parameters())
            # A weight without requires_grad would become a buffer.
            parametrize.remove_parametrizations(module.requires_grad_(), "weight", leave_parametrized=True)
            module.requires_grad_(trained)
    return network
