"""Images -> patches: which patches a step sees is a function of the seed and the step alone."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from torch import Tensor

from scn.config import Experiment
from scn.errors import UserError
from scn.samples import Image, Sample


@dataclass(frozen=True, kw_only=True)
class Batch:
    """input (B, C, p, p), target (B, C, sp, sp): float32, 0 is black, 1 is white; noise may leave the range."""

    input: Tensor
    target: Tensor


class Patches:
    """The training images in memory, as uint8, and the patches that each step cuts from them.

    Every epoch holds `patches_per_image` patches of every image, in random order; each is cut at a random place
    and turned or mirrored in one of the 8 ways (SCN paper, section 4.1). All random numbers are counter-based
    (Philox), so step t of a resumed run, or of one with other workers, sees the same patches.
    """

    def __init__(self, images: Iterable[Sample], experiment: Experiment) -> None:
        self.config = experiment.train
        self.scale = experiment.scale
        self.sigma = 0 if experiment.task.stored else experiment.level
        self.images: list[tuple[Image, Image]] = []
        for sample in images:
            lr = sample.hr if sample.lr is None else sample.lr
            if min(lr.shape[:2]) < self.config.patch:
                side = self.config.patch * self.scale
                raise UserError(
                    f"The image {sample.name} is {sample.hr.shape[1]}x{sample.hr.shape[0]} pixels, smaller than a "
                    f"patch of {side}x{side}: take it out of the training corpus or lower train.patch."
                )
            self.images.append((_channels_first(lr), _channels_first(sample.hr)))
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """The part of step `step` (from 0) that process `rank` of `world` works on."""
        share = self.config.batch // world
        draws = self._generator(0, step).random((self.config.batch, 3))
        inputs, targets = [], []
        for i in range(rank * share, (rank + 1) * share):
            lr, hr = self.images[self._image(step * self.config.batch + i)]
            p, s = self.config.patch, self.scale
            y = int(draws[i, 0] * (lr.shape[1] - p + 1))
            x = int(draws[i, 1] * (lr.shape[2] - p + 1))
            symmetry = int(draws[i, 2] * 8)
            patch = _turn(lr[:, y : y + p, x : x + p], symmetry).astype(np.float32)
            if self.sigma:
                noise = self._generator(1, step, i).standard_normal(patch.shape, dtype=np.float32)
                patch += self.sigma * noise
            inputs.append(patch)
            targets.append(_turn(hr[:, y * s : (y + p) * s, x * s : (x + p) * s], symmetry).astype(np.float32))
        return Batch(
            input=torch.from_numpy(np.stack(inputs)).div_(255),
            target=torch.from_numpy(np.stack(targets)).div_(255),
        )

    def _image(self, patch: int) -> int:
        """The image that patch number `patch` of the run is cut from."""
        per_epoch = len(self.images) * self.config.patches_per_image
        epoch, place = divmod(patch, per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, self._generator(2, epoch).permutation(per_epoch)
        return int(self._order[1][place] % len(self.images))

    def _generator(self, purpose: int, *counter: int) -> Generator:
        """Random numbers of their own for a purpose and a place in the run."""
        high = [*reversed(counter), 0, 0][:2]
        return Generator(Philox(key=[self.config.seed, purpose], counter=[0, 0, *high]))


def _channels_first(image: Image) -> Image:
    return np.ascontiguousarray(image[None] if image.ndim == 2 else image.transpose(2, 0, 1))


def _turn(patch: Image, symmetry: int) -> Image:
    """One of the 8 flips and rotations of (C, H, W)."""
    if symmetry & 1:
        patch = patch[:, :, ::-1]
    if symmetry & 2:
        patch = patch[:, ::-1, :]
    return patch.transpose(0, 2, 1) if symmetry & 4 else patch
