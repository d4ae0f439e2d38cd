"""The networks of the MS-Conv paper: two backbones, each with any of its convolutions."""

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from scn.networks.base.config import Network, NetworkConfig

PAPER = (
    "Feng, Guan, Qiao, Dong: Exploring Multi-Scale Feature Propagation and Communication for Image Super Resolution, "
    "arXiv:2008.00239, 2020"
)
SRRESNET_PAPER = (
    "Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, CVPR 2017"
)
CARN_PAPER = (
    "Ahn, Kang, Sohn: Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network, ECCV 2018"
)

Conv = Literal[
    "standard",
    "ms",
    "ms2",
    "ms2-no-lh",
    "ms2-no-hl",
    "ms3",
    "ms3-l",
    "octave",
    "multigrid",
    "unet",
    "dilated",
    "dilated-shared",
    "dilated-lossy",
    "dilated-pooled",
]
"""The convolution that stands in every layer but the first and the last two; see scn.networks.ms_conv.layers."""

ANY = (1, 4, 2)
BRANCHES: Mapping[str, tuple[int, int, int]] = dict.fromkeys(get_args(Conv), ANY) | {
    "standard": (1, 1, 1),
    "octave": (2, 2, 2),
    "multigrid": (2, 4, 3),
    "unet": (2, 4, 2),
    "dilated": (1, 1, 1),
    "dilated-shared": (1, 1, 1),
    "dilated-lossy": (1, 1, 1),
    "dilated-pooled": (1, 1, 1),
}
"""Convolution -> fewest and most branches, and how many where none are asked for."""


class MsConvConfig(NetworkConfig):
    """What the backbones have in common (MS-Conv paper, sections 3 and 4)."""

    conv: Conv = "standard"
    """Which convolution its layers are: standard, or one of the multi-scale ones (docs/networks/ms-conv.md)."""
    branches: int | None = Field(default=None, ge=1, le=4, validate_default=True)
    """Sizes of the features, each half of the one before; None: as many as `conv` has in the paper."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of the features: all with one branch, half of them per branch with more."""
    alpha: float = Field(default=0.5, gt=0, lt=1, validate_default=True)
    """octave: share of the channels at the low resolution."""

    @field_validator("branches")
    @classmethod
    def _possible(cls, branches: int | None, info: ValidationInfo) -> int | None:
        if "conv" not in info.data:  # an unknown one, which is told already
            return branches
        conv = info.data["conv"]
        fewest, most, usual = BRANCHES[conv]
        if branches is None:
            return usual
        if not fewest <= branches <= most:
            allowed = f"{fewest} to {most} branches" if most > fewest else f"{most} branch{'es' if most > 1 else ''}"
            raise ValueError(f"'{conv}' has {allowed}, not {branches}")
        return branches

    @field_validator("units")
    @classmethod
    def _splits(cls, units: int, info: ValidationInfo) -> int:
        conv, branches = info.data.get("conv", ""), info.data.get("branches")
        if units % 2 and conv != "octave" and (branches != 1 or conv.startswith("dilated")):
            raise ValueError(f"{units} channels can't be halved for the branches: use an even number")
        return units

    @field_validator("alpha")
    @classmethod
    def _leaves_channels(cls, alpha: float, info: ValidationInfo) -> float:
        conv, units = info.data.get("conv"), info.data.get("units", 0)
        if conv == "octave" and units and not 0 < round(alpha * units) < units:
            raise ValueError(f"{alpha} of {units} channels leaves one of the two branches without any")
        if conv != "octave" and alpha != cls.model_fields["alpha"].default:
            raise ValueError(f"'{conv}' always halves the channels; only 'octave' reads it")
        return alpha


class SrresnetConfig(MsConvConfig):
    """SRResNet without batch normalisation (MS-Conv paper, section 4)."""

    name: Literal["srresnet"] = "srresnet"
    blocks: int = Field(default=16, ge=1, le=1000)
    """Residual blocks; 46 in the paper's deeper network, MS3-Conv+."""


class CarnConfig(MsConvConfig):
    """Cascading Residual Network (MS-Conv paper, section 4.3)."""

    name: Literal["carn"] = "carn"
    blocks: int = Field(default=3, ge=1, le=1000)
    """Cascading blocks, of three residual blocks each; 8 have the figures of the paper's MS3-Conv+."""


ENTRIES = (
    Network(
        parameters=SrresnetConfig,
        title="SRResNet without batch normalisation, with multi-scale convolutions",
        paper=f"{PAPER}; {SRRESNET_PAPER}",
        section="3 and 4; backbone: 2.1.1",
        licence="published ideas; no code of the authors was seen",
        scale=4,
    ),
    Network(
        parameters=CarnConfig,
        title="Cascading Residual Network, with multi-scale convolutions",
        paper=f"{PAPER}; {CARN_PAPER}",
        section="3 and 4.3; backbone: 3",
        licence="published ideas; CARN's authors' code, not used here, is MIT; no code of the MS-Conv authors was seen",
        scale=4,
    ),
)
