"""What an entry of the table of networks is."""

from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict

from scn.core.schema import Section


class NetworkConfig(Section):
    """Parameters that decide what a network computes, besides the image's channels and the scale factor."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, allow_inf_nan=False
    )  # `scn networks` prints the docstrings

    name: str

    @property
    def splits_batches(self) -> bool:
        """Whether the result is the same however a batch is split among workers or parts."""
        return not getattr(self, "batch_norm", False)


@dataclass(frozen=True, kw_only=True)
class Network:
    """An entry of the table."""

    parameters: type[NetworkConfig]
    title: str
    paper: str
    section: str
    licence: str
    """Of the idea and of the authors' code; none of that code is used here."""
    channels: Literal[1, 3] = 3
    """Of the image, in the paper's own figures."""
    scale: int = 1
    """Upscaling factor, in the paper's own figures."""

    @property
    def name(self) -> str:
        return str(self.parameters.model_fields["name"].default)
