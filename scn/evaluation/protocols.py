"""Protocols: named, versioned rules for comparing restored images with the originals (docs/protocols.md).

Every figure names its protocol. A change of a rule that changes a figure gets a new name, such as sr-y-v2. Images are
rounded to 8 bits first, and PSNR has a peak of 255.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scn.core.schema import unknown
from scn.evaluation import metrics
from scn.imaging.degradation import rgb_to_luma
from scn.imaging.tasks import Channels, Task
from scn.inference.records import Figures

DIGITS = 4
"""Decimals of a figure in a file: two more than are printed; the last bits of a float differ between machines."""

Metric = Literal["psnr", "ssim", "ssim8", "psnr_b"]
_METRICS: Mapping[Metric, Callable[[metrics.Image, metrics.Image], float]] = {
    "psnr": metrics.psnr,
    "ssim": metrics.ssim,
    "ssim8": metrics.ssim8,
    "psnr_b": metrics.psnr_b,
}
Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A rule for comparing a restored image with the original."""

    name: str
    """The name that figures carry, with the version of the rule: "sr-y-v1"."""
    title: str
    """The rule in a few words, for tables."""
    target: Channels
    """Channels of the original that is degraded and restored; of `rgb`, grey photographs stay grey."""
    colour_only: bool = False
    """True: grey photographs can't be measured under this protocol."""
    luma: bool = False
    """True: RGB images are compared by their BT.601 studio-range luma, unrounded; False: as they are."""
    crop_scale: bool = False
    """True: a frame of `scale` pixels, the upscaling factor, is left out on every side."""
    crop: int = 0
    """Pixels that are left out on every side besides."""
    metrics: tuple[Metric, ...] = ("psnr", "ssim")
    perceptual: bool = False
    """True: LPIPS and DISTS are measured, too, where they are asked for (scn.evaluation.perceptual)."""

    def frame(self, scale: int) -> int:
        """Returns the width in pixels of the frame that is left out on every side."""
        return self.crop + (scale if self.crop_scale else 0)

    def smallest_side(self, scale: int) -> int:
        """Returns the shortest side, in pixels, that an image may have to be measured."""
        return metrics.WINDOW + 2 * self.frame(scale)

    def fits(self, original: Image, scale: int) -> bool:
        """True if an original, (H, W) or (H, W, 3), can be measured: it is large enough and has the right channels."""
        colours = original.ndim == 3
        right = colours or not self.colour_only if self.target == "rgb" else not colours
        return right and min(original.shape[:2]) >= self.smallest_side(scale)


PROTOCOLS: Mapping[str, tuple[Protocol, ...]] = {
    "sr": (
        Protocol(name="sr-y-v1", title="luma, frame of scale pixels cropped", target="rgb", luma=True, crop_scale=True),
        Protocol(
            name="sr-rgb-v1",
            title="RGB, frame of scale + 6 pixels cropped",
            target="rgb",
            crop_scale=True,
            crop=6,
            perceptual=True,
        ),
    ),
    "dn": (
        Protocol(name="dn-grey-v1", title="grey, full range, no crop", target="grey"),
        Protocol(name="dn-rgb-v1", title="RGB, no crop", target="rgb", colour_only=True, perceptual=True),
    ),
    "car": (
        Protocol(name="car-y-v1", title="luma, no crop", target="luma", metrics=("psnr", "ssim", "ssim8", "psnr_b")),
    ),
}
"""Task -> its protocols; the first one is the papers' for the task, and decides what is published and compared."""


def protocols_of(task: Task) -> tuple[Protocol, ...]:
    """Returns the protocols of a task, the papers' first."""
    return PROTOCOLS[task.name]


def protocol(name: str) -> Protocol:
    """Returns the protocol with a name; raises ValueError, which suggests the nearest, if there is none."""
    known = {each.name: each for of_task in PROTOCOLS.values() for each in of_task}
    if name not in known:
        raise ValueError(unknown(name, known, "protocol"))
    return known[name]


def measure(restored: Image, original: Image, rule: Protocol, scale: int) -> Figures:
    """Compares two 8-bit images, (H, W) or (H, W, 3), under a protocol.

    Args:
        scale: upscaling factor of the network that restored the image; 1 for none.
    Returns:
        the figures that the protocol has, unrounded.
    Raises:
        ValueError: if shapes or types differ, or an image is smaller than `rule.smallest_side(scale)`.
    """
    a, b = compared(restored, original, rule, scale)
    return Figures(**{name: _METRICS[name](a, b) for name in rule.metrics})


def measure_psnr(restored: Image, original: Image, rule: Protocol, scale: int) -> float:
    """Returns the PSNR in dB that `measure` gives, at a small part of its cost; raises ValueError as it does."""
    return metrics.psnr(*compared(restored, original, rule, scale))


def compared(restored: Image, original: Image, rule: Protocol, scale: int) -> tuple[metrics.Image, metrics.Image]:
    """Returns the values that a protocol compares, in 0..255: (h, w) or (h, w, 3) without the frame.

    Raises:
        ValueError: if an image does not have 8 bits.
    """
    if restored.dtype != np.uint8 or original.dtype != np.uint8:
        raise ValueError(f"a protocol compares 8-bit images, not {restored.dtype} with {original.dtype}")
    frame = rule.frame(scale)
    a, b = (
        _values(image, rule)[frame : image.shape[0] - frame, frame : image.shape[1] - frame]
        for image in (restored, original)
    )
    return a, b


def rounded(figures: Figures) -> Figures:
    """Rounds figures to DIGITS decimals, as they stand in files."""
    return Figures(**{name: round(value, DIGITS) for name, value in figures.model_dump(exclude_none=True).items()})


def average(figures: Iterable[float]) -> float:
    """Returns the mean of figures that are rounded already, one per image, as it stands in files."""
    return round(float(np.mean(list(figures), dtype=np.float64)), DIGITS)


def mean(images: Iterable[Figures]) -> Figures:
    """Returns the mean of each figure over images, as it stands in files; figures that an image lacks are left out."""
    rows = [figures.model_dump(exclude_none=True) for figures in images]
    return Figures(**{name: average(row[name] for row in rows) for name in rows[0] if all(name in row for row in rows)})


def _values(image: Image, rule: Protocol) -> NDArray[np.uint8] | NDArray[np.float64]:
    # Grey images stay as they are: studio range would shrink the error and add 1.3 dB.
    return rgb_to_luma(image) if rule.luma and image.ndim == 3 else image
