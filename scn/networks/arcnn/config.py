"""The parameters of ARCNN."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class ArcnnConfig(NetworkConfig):
    """ARCNN, 9-7-1-5: SRCNN with a layer of feature enhancement."""

    name: Literal["arcnn"] = "arcnn"
    units: int = Field(default=64, ge=4, le=4096, multiple_of=4)
    """Filters of the first layer (n1); the second has half, the third a quarter as many."""
