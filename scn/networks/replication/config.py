"""The parameters of the two networks of the SCN replication."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class ScaleWiseConfig(NetworkConfig):
    """The parameters of both networks; the report gives no number, the defaults are those of `scn`."""

    blocks: int = Field(default=8, ge=1, le=1000)
    """Residual blocks."""
    units: int = Field(default=32, ge=1, le=4096)
    """Channels of the features between blocks (the report's num_features)."""
    scales: int = Field(default=4, ge=1, le=64)
    """Sizes at which every layer convolves: 1, 1/2, 1/4, ... of the features' (S)."""


class ScaleWiseOriginalConfig(ScaleWiseConfig):
    """ScaleWiseNetwork, original: the scales are added."""

    name: Literal["scalewise-original"] = "scalewise-original"


class ScaleWiseAdaptiveConfig(ScaleWiseConfig):
    """ScaleWiseNetwork, adaptive: instance normalisation, and attention over the scales."""

    name: Literal["scalewise-adaptive"] = "scalewise-adaptive"
