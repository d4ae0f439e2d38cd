"""The networks that `model.name` may ask for: their parameters, and where they come from. No PyTorch here.

What builds them stands in scn.models, under the same names. A parameter that a network doesn't have is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from scn.errors import UserError
from scn.schema import Section, check, unknown

DEFAULT = "scn"
"""The network of a configuration that names none."""


class NetworkConfig(Section):
    """Parameters that decide what a network computes, besides the image's channels and the scale factor."""

    name: str


class ScnConfig(NetworkConfig):
    """Scale-wise Convolutional Network (SCN paper, section 3)."""

    name: Literal["scn"] = "scn"
    blocks: int = Field(default=8, ge=1)
    """Residual blocks."""
    units: int = Field(default=32, ge=1)
    """Channels of the features between blocks (the paper's residual units)."""
    width: int = Field(default=4, ge=1)
    """Channels before the activation, as a multiple of `units` (wide activation)."""
    scales: int = Field(default=4, ge=1)
    """Levels of the feature pyramid."""
    ratio: float = Field(default=0.5, gt=0, lt=1)
    """Size of a level relative to the one above it."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """An entry of the table."""

    parameters: type[NetworkConfig]
    title: str
    paper: str
    section: str
    licence: str
    """Of the idea and of the authors' code; none of that code is used here."""
    channels: Literal[1, 3] = 3
    """Of the image, in the paper's own figures."""
    scale: int = 1
    """Upscaling factor, in the paper's own figures."""

    @property
    def name(self) -> str:
        return str(self.parameters.model_fields["name"].default)


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network(
            parameters=ScnConfig,
            title="Scale-wise Convolutional Network",
            paper="Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020",
            section="3",
            licence="",
            scale=2,
        ),
    )
}
"""Every network, by name."""


def network_config(raw: Mapping[str, Any], source: object, place: str = "") -> NetworkConfig:
    """The parameters of the network that raw["name"] names, with its defaults for those that are not given.

    Args:
        source, place: where `raw` was read, for the message, as in scn.schema.check.
    Raises:
        UserError: for an unknown network, an unknown parameter, or a value out of its range.
    """
    name = raw.get("name", DEFAULT)
    if not isinstance(name, str) or name not in NETWORKS:
        where = f"{place}.name: " if place else ""
        raise UserError(f"{source}: {where}{unknown(str(name), NETWORKS, 'network')}.")
    return check(NETWORKS[name].parameters, raw, source, place)
