"""The parameters of WDSR."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import WideConfig


class WdsrConfig(WideConfig):
    """WDSR-A: residual blocks with wide activation; SCN's ancestor with one level."""

    name: Literal["wdsr"] = "wdsr"
    blocks: int = Field(default=16, ge=1, le=1000)
