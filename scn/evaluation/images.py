"""One image of an evaluation set: degraded for the network, and restored by it."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.evaluation.protocols import protocols_of
from scn.imaging.degradation import evaluation_noise, to_uint8
from scn.inference.apply import apply, device_of, prepare
from scn.inference.ensemble import self_ensemble
from scn.inference.precision import Computation, Precision, computed, kind_of
from scn.inference.tiled import restore_tiled
from scn.shards.samples import Sample

Image = NDArray[np.uint8]


def degrade(sample: Sample, experiment: Experiment) -> tuple[NDArray[np.float32], Image]:
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


@dataclass(frozen=True, kw_only=True)
class Restorer:
    """A network as a method that is measured: called with a degraded image, it returns the restored one."""

    network: nn.Module
    channels: int
    """Number of channels of the network's images, 1 or 3."""
    scale: int
    """Upscaling factor of the network."""
    precision: Precision
    ensemble: bool = False
    """True: the mean over the 8 flips and rotations (scn.inference.ensemble)."""
    tile: int | None = None
    """An image of more than tile x tile pixels is restored in parts (scn.inference.tiled); None: as a whole."""
    device: torch.device | None = None
    """Device that the network is on; None: it is moved to a GPU if there is one, and set to eval mode."""

    def __call__(self, image: NDArray[np.float32]) -> Image:
        """Restores an image.

        Args:
            image: (h, w) or (h, w, 3), 0 is black, 1 is white; noise may leave that range. A one-channel network
                restores each channel of a colour image by itself; an RGB network restores a grey image as the mean of
                its three results.
        Returns:
            (s h, s w) or (s h, s w, 3), 8 bits, where s is `scale`.
        Raises:
            FloatingPointError: if the network gives values that are not finite.
        """
        model = prepare(self.network) if self.device is None else self.network
        pixels = image if image.ndim == 3 else image[..., None]
        if self.tile is None or pixels.shape[0] * pixels.shape[1] <= self.tile**2:
            function: Callable[[Tensor], Tensor] = partial(self_ensemble, model) if self.ensemble else model
            restored = to_uint8(self._run(function, device_of(model), pixels))
        else:
            run = partial(self._run, model, device_of(model))
            restored = restore_tiled(model, run, pixels, self.scale, to_uint8, tile=self.tile, ensemble=self.ensemble)
        return restored if image.ndim == 3 else restored[..., 0]

    @property
    def computation(self) -> Computation:
        """How the network is computed where it is now."""
        device = device_of(self.network)
        precision = computed(device, self.precision)
        return Computation(kind_of(device, precision), precision)

    def portable(self) -> "Restorer":
        """Returns the same method for another process: with weights in host memory, on whatever device is there."""
        return replace(self, network=deepcopy(self.network).cpu(), device=None)

    def _run(
        self, function: Callable[[Tensor], Tensor], device: torch.device, pixels: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(h, w, C) -> (s h, s w, C), float."""
        colours = pixels.shape[-1]
        batch = pixels[None]
        if colours != self.channels:
            planes = np.moveaxis(pixels, -1, 0)[..., None]
            batch = planes if self.channels == 1 else np.repeat(pixels[None], self.channels, axis=-1)
        restored = apply(function, batch, device, self.precision)
        if not np.isfinite(restored).all():  # as 8 bits they would be black, and measured
            raise FloatingPointError("the network gives values that are not finite")
        if colours == self.channels:
            return restored[0]
        return np.moveaxis(restored[..., 0], 0, -1) if self.channels == 1 else restored[0].mean(axis=-1, keepdims=True)


def restorer(
    experiment: Experiment, network: nn.Module, *, ensemble: bool = False, device: torch.device | None = None
) -> Restorer:
    """Returns the experiment's network as a method, in the precision of evaluation (section `evaluate`).

    Args:
        ensemble, device: as in Restorer.
    """
    return Restorer(
        network=network,
        channels=experiment.task.image_channels,
        scale=experiment.scale,
        precision=experiment.evaluate.precision,
        ensemble=ensemble,
        device=device,
    )


def measurable(samples: Iterable[Sample], experiment: Experiment, set_name: str) -> Iterator[Sample]:
    """Yields the samples; raises UserError at the first one that is too small for the task's first protocol."""
    smallest = protocols_of(experiment.task)[0].smallest_side(experiment.scale)
    for sample in samples:
        height, width = sample.hr.shape[:2]
        if min(height, width) < smallest:
            raise UserError(
                f"{set_name}: the image {sample.name} is {width}x{height} pixels, but {experiment.name} is measured on "
                f"at least {smallest}x{smallest}: take it out of the evaluation set."
            )
        yield sample
