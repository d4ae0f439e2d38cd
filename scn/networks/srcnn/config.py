"""The parameters of SRCNN."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class SrcnnConfig(NetworkConfig):
    """SRCNN, 9-5-5: three convolutions on the enlarged image."""

    name: Literal["srcnn"] = "srcnn"
    units: int = Field(default=64, ge=2, le=4096, multiple_of=2)
    """Filters of the first layer (n1); the second has half as many (n2), as in all the paper's versions."""
    kernel: Literal[1, 3, 5] = 5
    """Side of the second layer's kernels (f2)."""
    luma: bool = False
    """Restore the luma only, as the paper does, and enlarge the chroma bicubically; false: restore all channels."""
