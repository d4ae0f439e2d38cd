"""Parameters that the configurations of several networks share."""

from pydantic import ConfigDict, Field

from scn.core.schema import Section


class NetworkConfig(Section):
    """The parameters that decide what a network computes, besides the image's channels and the scale factor."""

    # `scn networks` prints the docstrings
    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    name: str
    """Name of the network, as in the table of networks."""

    @property
    def splits_batches(self) -> bool:
        """True if the gradients of a batch's parts add up to the whole batch's, so that the batch may be split.

        False for a network that normalises over the batch: its gradients depend on how the batch is split among
        workers, or into steps of gradient accumulation.
        """
        return True

    def check_channels(self, channels: int) -> None:
        """Raises ValueError if the network can't be had for images of so many channels, 1 or 3."""

    def check_new(self) -> None:
        """Raises ValueError for what no new network is made with, though one that was made so can be built."""


class WideConfig(NetworkConfig):
    """The parameters of all widely-activated networks (Yu et al. 2018; SCN paper, section 3.2)."""

    blocks: int = Field(default=8, ge=1, le=1000)
    """Number of residual blocks."""
    units: int = Field(default=32, ge=1, le=4096)
    """Channels of the features between blocks (the paper's residual units)."""
    width: int = Field(default=4, ge=1, le=64)
    """Channels before the activation, as a multiple of `units` (wide activation)."""
    weight_norm: bool = True
    """Use weight normalisation in every convolution while training."""
