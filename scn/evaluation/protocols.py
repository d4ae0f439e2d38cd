"""PSNR and SSIM of a restored image under the protocol of a task (scn.imaging.tasks.Protocol)."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scn.evaluation import metrics
from scn.imaging.degradation import rgb_to_luma
from scn.imaging.tasks import Task
from scn.inference.records import Figures

DIGITS = 4
"""Decimals of a figure in a file: two more than are printed; the last bits of a float differ between machines."""


def measure(restored: NDArray[np.uint8], original: NDArray[np.uint8], task: Task, scale: int) -> Figures:
    """PSNR and SSIM of two images, (H, W) or (H, W, 3), under the task's protocol.

    Raises:
        ValueError: if the shapes differ or an image is smaller than `smallest_side(task, scale)`.
    """
    a, b = _compared(restored, original, task, scale)
    return Figures(psnr=metrics.psnr(a, b), ssim=metrics.ssim(a, b))


def measure_psnr(restored: NDArray[np.uint8], original: NDArray[np.uint8], task: Task, scale: int) -> float:
    """Returns the PSNR in dB that `measure` gives, at a small part of its cost; raises ValueError as it does."""
    return metrics.psnr(*_compared(restored, original, task, scale))


def rounded(figure: float) -> float:
    """Rounds a figure to DIGITS decimals, as it stands in files."""
    return round(float(figure), DIGITS)


def average(figures: Iterable[float]) -> float:
    """Returns the mean of figures that are rounded already, one per image, as it stands in files."""
    return rounded(np.mean(list(figures), dtype=np.float64))


def smallest_side(task: Task, scale: int) -> int:
    """Returns the shortest side, in pixels, that an image may have to be measured under the task's protocol."""
    return metrics.WINDOW + 2 * _frame(task, scale)


def _compared(
    restored: NDArray[np.uint8], original: NDArray[np.uint8], task: Task, scale: int
) -> tuple[metrics.Image, metrics.Image]:
    if restored.dtype != np.uint8 or original.dtype != np.uint8:
        raise ValueError(f"a protocol compares 8-bit images, not {restored.dtype} with {original.dtype}")
    frame = _frame(task, scale)
    a, b = (
        _measured(image, task)[frame : image.shape[0] - frame, frame : image.shape[1] - frame]
        for image in (restored, original)
    )
    return a, b


def _frame(task: Task, scale: int) -> int:
    return scale if task.protocol.crop_scale else 0


def _measured(image: NDArray[np.uint8], task: Task) -> NDArray[np.uint8] | NDArray[np.float64]:
    # Grey images stay as they are: studio range would shrink the error and add 1.3 dB.
    return rgb_to_luma(image) if task.protocol.luma and image.ndim == 3 else image
