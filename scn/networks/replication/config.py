"""The two networks of the SCN replication."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import Network, NetworkConfig

PAPER = "Pratap: Scale-wise Convolution for image restoration (project report), Purdue University 2024"
LICENCE = "published idea; the author's code (Mayankpr04/ai_scn), not used here, names no licence"


class ScaleWiseConfig(NetworkConfig):
    """What both networks have. The report gives no number; the defaults are those of `scn`."""

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


ENTRIES = (
    Network(
        parameters=ScaleWiseOriginalConfig,
        title="ScaleWiseNetwork, original",
        paper=PAPER,
        section="Scale-Wise-Network (original)",
        licence=LICENCE,
        scale=2,
    ),
    Network(
        parameters=ScaleWiseAdaptiveConfig,
        title="ScaleWiseNetwork, adaptive",
        paper=PAPER,
        section="Adaptive Scale-wise convolution model",
        licence=LICENCE,
        scale=2,
    ),
)
