"""The parameters of EDSR."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class EdsrConfig(NetworkConfig):
    """EDSR, by default of the baseline's size: residual blocks without batch normalisation."""

    name: Literal["edsr"] = "edsr"
    blocks: int = Field(default=16, ge=1, le=1000)
    """Number of residual blocks."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of the features between blocks."""
    residual_scaling: float = Field(default=1.0, gt=0, le=10)
    """Factor of each block's residual: 1 at the baseline's size, 0.1 in the large network."""
    mean: Literal["half", "div2k"] = "half"
    """What is subtracted from the image and added to the result: 0.5, as in SCN, or DIV2K's mean of each channel, as in
    the paper and its authors' weights, for 3 channels."""

    def check_channels(self, channels: int) -> None:
        if self.mean == "div2k" and channels != 3:
            raise ValueError(f"mean: div2k is that of images with 3 channels: use half with {channels}")
