"""The network of the SCN paper, and those it is compared with in its ablation study."""

from typing import Literal

from pydantic import Field

from scn.networks.base import Network, NetworkConfig

PAPER = "Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020"
LICENCE = ""


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


ENTRIES = (
    Network(
        parameters=ScnConfig,
        title="Scale-wise Convolutional Network",
        paper=PAPER,
        section="3",
        licence=LICENCE,
        scale=2,
    ),
)
