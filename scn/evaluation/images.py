"""One image of an evaluation set: degraded for the network, and restored by it."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.evaluation.protocols import smallest_side
from scn.imaging.degradation import evaluation_noise, to_uint8
from scn.inference.apply import apply
from scn.shards.samples import Sample


def degrade(sample: Sample, experiment: Experiment) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Returns the network's input for a sample, and the degraded image that a viewer would see without a network.

    Returns:
        the network's input (h, w) or (h, w, 3), where 0 is black and 1 is white; and the degraded image of the
        original's size, 8 bits: for super-resolution the bicubic enlargement. Noise is added in float, and the
        network gets it unclipped; the image that is measured is clipped and rounded, as a viewer would see it
        (on Set12 this measures 0.06, 0.16 and 0.60 dB more at sigma 15, 25 and 50 than the unclipped noise would).
    """
    if experiment.task.stored:
        assert sample.lr is not None
        seen = sample.lr if sample.up is None else sample.up
        return np.divide(sample.lr, 255, dtype=np.float32), seen
    noisy = (sample.hr + evaluation_noise(sample.name, sample.hr.shape, experiment.level)) / 255
    return noisy.astype(np.float32), to_uint8(noisy)


def restore(
    function: Callable[[Tensor], Tensor],
    device: torch.device,
    image: NDArray[np.float32],
    sample: Sample,
    experiment: Experiment,
) -> NDArray[np.uint8]:
    """Restores an image by a network, or a function of one, on `device`, in the precision of evaluation.

    Args:
        image: the network's input, as `degrade` returned it for the sample.
    Returns:
        the restored image, 8 bits, of the shape of sample.hr.
    """
    batch = image.reshape(1, *image.shape[:2], -1)
    if batch.shape[-1] == 1:  # a grey image is restored by an RGB network as the mean of its three results
        batch = np.repeat(batch, experiment.task.image_channels, axis=-1)
    restored = apply(function, batch, device, experiment.evaluate.precision)[0]
    return to_uint8(restored.mean(axis=-1) if sample.hr.ndim == 2 else restored)


def measurable(samples: Iterable[Sample], experiment: Experiment, set_name: str) -> Iterator[Sample]:
    """Yields the samples; raises UserError at the first one that is too small for the protocol."""
    smallest = smallest_side(experiment.task, experiment.scale)
    for sample in samples:
        height, width = sample.hr.shape[:2]
        if min(height, width) < smallest:
            raise UserError(
                f"{set_name}: the image {sample.name} is {width}x{height} pixels, but {experiment.name} is measured on "
                f"at least {smallest}x{smallest}: take it out of the evaluation set."
            )
        yield sample
