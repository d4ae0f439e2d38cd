"""The parameters of DnCNN."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import NetworkConfig


class DncnnConfig(NetworkConfig):
    """DnCNN: 3x3 convolutions with batch normalisation that predict the noise."""

    name: Literal["dncnn"] = "dncnn"
    layers: int = Field(default=17, ge=2, le=1000)
    """Number of convolutions: 17 for one strength of noise (DnCNN-S), 20 for several tasks at once (DnCNN-3)."""
    units: int = Field(default=64, ge=1, le=4096)
    """Filters of every layer but the last."""
    batch_norm: bool = True
    """Use batch normalisation after every convolution but the first and the last."""

    @property
    def splits_batches(self) -> bool:
        """True without batch normalisation, which depends on the images that are computed together."""
        return not self.batch_norm
