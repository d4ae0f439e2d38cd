"""Validation: PSNR of a network in training, on evaluation sets, under the protocol of the task."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.memory import room_for
from scn.core.schema import unknown
from scn.data.cache import shard_reader
from scn.evaluation.images import degrade, measurable, restorer
from scn.evaluation.protocols import DIGITS, average, measure_psnr, protocols_of
from scn.shards.manifest import EvaluationManifest
from scn.shards.samples import Image, Sample, unpack
from scn.storage.base import Store
from scn.training.world import World, gathered, on_every_rank

SAMPLES = 3
"""Number of images that are shown of a validation."""
SAMPLE_SIDE = 128
"""Longest side, in pixels, of the part that is shown of an image: its centre."""


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The result of a validation; the same on every rank."""

    psnr: dict[str, float]
    """Evaluation set -> PSNR of the restored images in dB, the mean over the set; NaN if any of them is not finite."""
    degraded: dict[str, float]
    """Evaluation set -> PSNR of the degraded images in dB, the mean over the set: the figure without a network."""
    samples: list[tuple[str, Image]] = field(default_factory=list)
    """(Name, uint8 image (H, 3 W) or (H, 3 W, 3)) of the first images: degraded, restored and original side by side."""

    @property
    def score(self) -> float:
        """Mean PSNR over the sets in dB, by which the best weights are chosen; NaN is never the best."""
        return float(np.mean(list(self.psnr.values()), dtype=np.float64))


@dataclass(frozen=True)
class _Held:
    """An image of a validation, and the PSNR of its degraded version, which no weights change."""

    set_name: str
    sample: Sample
    degraded: float


@dataclass(frozen=True)
class _Figures:
    """The figures of one image, which the rank that measured it sends to the others."""

    set_name: str
    degraded: float
    psnr: float
    shown: tuple[str, Image] | None


class Validation:
    """Measures a network in training on evaluation sets.

    The sets are those that train.take_best_on names if train.take_best_every is set, else those of run.validate_on,
    which are the first of data.evaluation where params.yaml names none. The figures are those that `scn evaluate`
    writes for the same weights, computed in evaluate.precision, not train.precision: the best weights are the best of
    what will be published.

    Images are dealt to the ranks one by one, by the manifest: a rank reads only shards that hold its own images, and
    keeps these in memory from the first call on. Every rank gets all figures and averages them in the order of the
    images: the number of ranks changes nothing.
    """

    def __init__(
        self,
        experiment: Experiment,
        manifest: EvaluationManifest,
        store: Store,
        device: torch.device,
        *,
        cache: Path | None = None,
    ) -> None:
        """Looks up the names of the sets; reads no image yet.

        Args:
            cache: folder of the shard cache on this machine (scn.data.cache.shard_reader); None: no cache.
        Raises:
            UserError: if a name is not that of an evaluation set of the manifest, or the cache can't be used.
        """
        self._best = best = experiment.train.take_best_every is not None
        key, asked = (
            ("train.take_best_on", experiment.train.take_best_on)
            if best
            else ("run.validate_on", experiment.run.validate_on)
        )
        for name in asked:
            if name not in manifest.sets:
                told = unknown(name, manifest.sets, "evaluation set")
                raise UserError(f"{key} of {experiment.name}: {told}.")
        self.sets = list(dict.fromkeys(asked)) or list(manifest.sets)[:1]
        self._experiment, self._manifest, self._device = experiment, manifest, device
        self._read = shard_reader(store, manifest.stage, cache, experiment.run.cache_mib)
        self._share: tuple[int, int] | None = None
        self._held: list[_Held] = []

    def __call__(self, network: nn.Module, rank: int = 0, world_size: int = 1) -> Validated:
        """Measures a network in eval mode, without gradients, then sets it back to the mode that it was in.

        Every rank has to call it.

        Args:
            network: on the device; not compiled, because images come in many sizes.
        Raises:
            UserError: on every rank, if a shard is missing or damaged, or an image is too small for the protocol.
            StoreError: on every rank, if the store has failed for too long on any.
            NoRoom: on every rank, if memory does not suffice for an image on any.
        """
        world = World(rank=rank, world_size=world_size, device=self._device)
        if self._share != (rank, world_size):
            self._load(world)
        shown = len(range(rank, SAMPLES, world_size))  # so many of the first SAMPLES images are this rank's
        training = network.training
        network.eval()
        try:
            ours = on_every_rank(
                world, lambda: [self._measure(network, held, show=i < shown) for i, held in enumerate(self._held)]
            )
        finally:
            network.train(training)
        dealt = gathered(ours, world)
        found = [dealt[i % world_size][i // world_size] for i in range(sum(map(len, dealt)))]
        return Validated(
            psnr={name: average(f.psnr for f in found if f.set_name == name) for name in self.sets},
            degraded={name: average(f.degraded for f in found if f.set_name == name) for name in self.sets},
            samples=[f.shown for f in found if f.shown],
        )

    def _load(self, world: World) -> None:
        """Reads this rank's images; if that fails, no rank waits for this one's figures."""
        self._held = on_every_rank(
            world, lambda: [self._hold(*image) for image in self._images(world.rank, world.world_size)]
        )
        self._share = world.rank, world.world_size

    def _images(self, rank: int, world_size: int) -> Iterator[tuple[str, Sample]]:
        """The images of a rank, in the order of all images of all sets.

        Raises:
            UserError: on every rank alike, if any image is too small for the protocol.
        """
        smallest, done = protocols_of(self._experiment.task)[0].smallest_side(self._experiment.scale), 0
        for name in self.sets:
            for shard in self._manifest.sets[name].shards:
                numbers = sorted(shard.images)
                wanted = {
                    number
                    for place, number in enumerate(numbers, done)
                    if place % world_size == rank or min(shard.images[number]) < smallest
                }
                done += len(numbers)
                if wanted:
                    samples = unpack(self._read(shard), self._experiment.level, wanted)
                    for sample in measurable(samples, self._experiment, name):
                        yield name, sample

    def _hold(self, set_name: str, sample: Sample) -> _Held:
        return _Held(set_name, sample, self._psnr(degrade(sample, self._experiment)[1], sample))

    def _measure(self, network: nn.Module, held: _Held, *, show: bool) -> _Figures:
        sample = held.sample
        image, seen = degrade(sample, self._experiment)
        height, width = sample.hr.shape[:2]
        keys = "train.take_best_on" if self._best else "run.validate_on, or set run.validate_every to 0"
        no_room = (
            f"{self._device} has no room for a validation of {self._experiment.name} on {sample.name} of "
            f"{held.set_name}, {width}x{height} pixels, as a whole: name sets of smaller images in {keys}."
        )
        try:
            with room_for(no_room):
                restored = restorer(self._experiment, network, device=self._device)(image)
        except FloatingPointError:  # no reason to end the run, which goes on while the loss is finite
            return _Figures(held.set_name, held.degraded, math.nan, None)
        shown = (sample.name, side_by_side(seen, restored, sample.hr)) if show else None
        return _Figures(held.set_name, held.degraded, self._psnr(restored, sample), shown)

    def _psnr(self, image: Image, sample: Sample) -> float:
        rule = protocols_of(self._experiment.task)[0]
        return round(measure_psnr(image, sample.hr, rule, self._experiment.scale), DIGITS)


def side_by_side(*images: Image) -> Image:
    """Puts the centres of images of one shape, (H, W) or (H, W, 3), side by side, each cut to SAMPLE_SIDE at most."""
    height, width = (min(side, SAMPLE_SIDE) for side in images[0].shape[:2])
    top, left = (images[0].shape[0] - height) // 2, (images[0].shape[1] - width) // 2
    return np.concatenate([image[top : top + height, left : left + width] for image in images], axis=1)
