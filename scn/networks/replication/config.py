"""The parameters of the SCN replication's two networks."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class ScaleWiseConfig(NetworkConfig):
    """The parameters of both networks; the report gives no values, the defaults are those of `scn`."""

    blocks: int = Field(default=8, ge=1, le=1000)
    """Number of residual blocks."""
    units: int = Field(default=32, ge=1, le=4096)
    """Channels of the features between blocks (the report's num_features)."""
    scales: int = Field(default=4, ge=1, le=64)
    """Number of scales at which every layer convolves (S): 1, 1/2, 1/4, ... of the features' size."""


class ScaleWiseOriginalConfig(ScaleWiseConfig):
    """ScaleWiseNetwork, original: every layer adds its scales."""

    name: Literal["scalewise-original"] = "scalewise-original"


class ScaleWiseAdaptiveConfig(ScaleWiseConfig):
    """ScaleWiseNetwork, adaptive: instance normalisation, and attention over the scales."""

    name: Literal["scalewise-adaptive"] = "scalewise-adaptive"
