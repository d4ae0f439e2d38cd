"""What an experiment asks for: its task, the level of degradation, and the protocol that measures it.

A task is a row of data, not a branch in the code: whoever needs to know how a task differs from another
(data preparation, training, evaluation, restoration) reads it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Channels = Literal["rgb", "grey", "luma"]
"""How a photograph becomes the target: `rgb` (3 channels), `grey` (1 channel, full range, MATLAB rgb2gray),
`luma` (1 channel, studio range 16..235, MATLAB rgb2ycbcr; a grey photograph is taken as it is)."""

Degradation = Literal["bicubic", "jpeg", "noise"]

OnColour = Literal["rgb", "each", "luma"]
"""How the network restores a user's colour photograph: `rgb` all channels at once, `each` channel by itself, or only
the `luma`, leaving the chroma as it is."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How restored images are compared with the originals, so that a figure can be told from another.

    Images are rounded to 8 bits first; PSNR has a peak of 255; SSIM is the 11x11 Gaussian window
    (sigma 1.5, K1 0.01, K2 0.03), valid positions only.
    """

    name: str
    luma: bool
    """Compare the BT.601 studio-range luma of RGB images, unrounded; otherwise the image itself."""
    crop_scale: bool
    """Leave out a frame of `scale` pixels."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One restoration task of the SCN paper (section 4.1)."""

    name: str
    title: str
    degradation: Degradation
    degraded_name: str
    """What the degraded input is called in tables."""
    level_name: str
    """What `level` is: the scale factor, the standard deviation of the noise (of 255) or the JPEG quality."""
    level_range: tuple[int, int]
    channels: Channels
    on_colour: OnColour
    protocol: Protocol
    stored: bool
    """The degraded image is made once and stored in the shards; otherwise it is made while training."""

    @property
    def image_channels(self) -> int:
        """Channels of the network's input and output."""
        return 3 if self.channels == "rgb" else 1

    def scale(self, level: int) -> int:
        """Factor between the sizes of output and input."""
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
            protocol=Protocol(name="sr: luma, 8 bits, frame of scale pixels cropped", luma=True, crop_scale=True),
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
            protocol=Protocol(name="dn: grey, full range, 8 bits, no crop", luma=False, crop_scale=False),
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
            protocol=Protocol(name="car: luma, 8 bits, no crop", luma=False, crop_scale=False),
            stored=True,
        ),
    )
}
