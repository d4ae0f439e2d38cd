"""The parameters of the MS-Conv paper's networks: two backbones, each with any of the paper's convolutions."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from scn.networks.base.config import NetworkConfig
from scn.networks.ms_conv.transformations import TRANSFORMATIONS

Conv = Literal[*TRANSFORMATIONS]  # type: ignore[valid-type]  # the table is the one list of the names
"""Name of the convolution in every layer but the first and the last two."""


class MsConvConfig(NetworkConfig):
    """The parameters that both backbones have (MS-Conv paper, sections 3 and 4)."""

    conv: Conv = "standard"
    """Convolution of the layers: standard, or one of the multi-scale ones (docs/networks/ms-conv.md)."""
    branches: int | None = Field(default=None, ge=1, le=4, validate_default=True)
    """Number of branches, each of half the height and width of the one before; null: the number of the paper."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of the features with one branch; with more branches each has half as many."""
    alpha: float = Field(default=0.5, gt=0, lt=1, validate_default=True)
    """Share of the channels that are at the low resolution; only for octave."""

    @field_validator("branches")
    @classmethod
    def _possible(cls, branches: int | None, info: ValidationInfo) -> int | None:
        if "conv" not in info.data:  # it is unknown, which is an error already
            return branches
        conv = info.data["conv"]
        row = TRANSFORMATIONS[conv]
        if branches is None:
            return row.usual
        if not row.fewest <= branches <= row.most:
            one = f"{row.most} branch{'es' if row.most > 1 else ''}"
            allowed = f"{row.fewest} to {one}" if row.most > row.fewest else one
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
            raise ValueError(f"{alpha} of {units} channels leaves one of the two branches without any: change it")
        if conv != "octave" and alpha != cls.model_fields["alpha"].default:
            raise ValueError(f"'{conv}' always halves the channels: leave alpha out, which only 'octave' has")
        return alpha


class SrresnetConfig(MsConvConfig):
    """SRResNet without batch normalisation (MS-Conv paper, section 4)."""

    name: Literal["srresnet"] = "srresnet"
    blocks: int = Field(default=16, ge=1, le=1000)
    """Number of residual blocks; 46 in the paper's deeper network, MS3-Conv+."""


class CarnConfig(MsConvConfig):
    """Cascading Residual Network (MS-Conv paper, section 4.3)."""

    name: Literal["carn"] = "carn"
    blocks: int = Field(default=3, ge=1, le=1000)
    """Number of cascading blocks, of three residual blocks each; 8 give the costs of the paper's MS3-Conv+."""
