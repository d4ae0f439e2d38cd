"""The parameters of WDSR."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import WideConfig


class WdsrConfig(WideConfig):
    """WDSR-A, SCN's ancestor with one scale: residual blocks with wide activation."""

    name: Literal["wdsr"] = "wdsr"
    blocks: int = Field(default=16, ge=1, le=1000)
