"""The parameters of MSRResNet."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class MsrresnetConfig(NetworkConfig):
    """MSRResNet: SRResNet as ESRGAN's authors changed it, which BasicSR and KAIR publish weights for."""

    name: Literal["msrresnet"] = "msrresnet"
    blocks: int = Field(default=16, ge=1, le=1000)
    """Number of residual blocks."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of the features."""
