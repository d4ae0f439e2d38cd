"""Which process of a run this one is."""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, kw_only=True)
class World:
    """Which process of a distributed run this one is, and where it computes."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
