"""The restoration tasks: their degradations and their channels.

A task is a row of data, not a branch in the code: data preparation, training, evaluation and restoration read here how
one task differs from another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Channels = Literal["rgb", "grey", "luma"]
"""Channels of the target that a photograph is converted to: `rgb` (3 channels), `grey` (1 channel, full range, MATLAB
rgb2gray), `luma` (1 channel, studio range 16..235, MATLAB rgb2ycbcr; a grey photograph is taken as it is)."""

Degradation = Literal["bicubic", "jpeg", "noise"]
"""Kind of degradation: bicubic reduction, JPEG compression or Gaussian noise."""

OnColour = Literal["rgb", "each", "luma"]
"""Channels of a colour photograph that the network restores: `rgb` all at once, `each` by itself, `luma` the luma only,
with the chroma left as it is."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One restoration task of the SCN paper (section 4.1)."""

    name: str
    title: str
    degradation: Degradation
    degraded_name: str
    """Name of the degraded input in tables."""
    level_name: str
    """Name of the level: scale (a factor), sigma (of the noise, where 255 is white) or quality (of JPEG)."""
    level_range: tuple[int, int]
    """Lowest and highest level that an experiment may ask for."""
    channels: Channels
    on_colour: OnColour
    stored: bool
    """True: degraded images are made once and stored in the shards; False: they are made while training."""

    @property
    def image_channels(self) -> int:
        """Number of channels of the network's input and output."""
        return 3 if self.channels == "rgb" else 1

    def scale(self, level: int) -> int:
        """Upscaling factor of the network: `level` in super-resolution, otherwise 1."""
        return level if self.degradation == "bicubic" else 1


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="sr",
            title="super-resolution",
            degradation="bicubic",
            degraded_name="bicubic",
            level_name="scale",
            level_range=(2, 16),
            channels="rgb",
            on_colour="rgb",
            stored=True,
        ),
        Task(
            name="dn",
            title="denoising",
            degradation="noise",
            degraded_name="noisy",
            level_name="sigma",
            level_range=(1, 100),
            channels="grey",
            on_colour="each",
            stored=False,
        ),
        Task(
            name="car",
            title="JPEG artifact removal",
            degradation="jpeg",
            degraded_name="JPEG",
            level_name="quality",
            level_range=(1, 100),
            channels="luma",
            on_colour="luma",
            stored=True,
        ),
    )
}
