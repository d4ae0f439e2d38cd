"""The networks, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from scn.errors import UserError
from scn.models.scn import SCN

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {"scn": SCN}
"""Every network that `model.name` may ask for."""


def build(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """The network that `architecture` (config.Experiment.architecture) describes, with weight normalisation.

    Args:
        seed: makes the initial weights a function of it, without touching the global random state.
    Raises:
        UserError: for an unknown name or parameters that the network does not have.
    """
    parameters = dict(architecture)
    name = parameters.pop("name", None)
    if name not in NETWORKS:
        raise UserError(f"There is no network '{name}': use one of {', '.join(NETWORKS)} as model.name.")
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            return NETWORKS[name](**parameters)
        except TypeError as error:
            raise UserError(f"The network '{name}' does not fit its description: {error}.") from None


def fold(network: nn.Module) -> nn.Module:
    """Folds weight normalisation into plain weights, in place: the same function, for inference."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network
