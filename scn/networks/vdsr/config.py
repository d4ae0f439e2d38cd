"""The parameters of VDSR."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class VdsrConfig(NetworkConfig):
    """VDSR: 3x3 convolutions on the enlarged image, added to it."""

    name: Literal["vdsr"] = "vdsr"
    layers: int = Field(default=20, ge=2, le=1000)
    """Number of convolutions."""
    units: int = Field(default=64, ge=1, le=4096)
    """Filters of every layer but the last."""
