"""Which image, place and symmetry every patch of a step has: a function of the seed and the number of the step.

Besides those it depends on the sizes of the images and on which of them are in memory together, which the manifest
tells: nothing has to be read, and no step before has to be drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scn.config.params import Experiment
from scn.data.groups import Group, Groups
from scn.data.philox import Purpose, generator

Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Part:
    """n patches of a step, one after the other, that are cut from one group."""

    group: Group
    start: int
    """Which patch of the step is the first."""
    image: Numbers
    """(n,) places in the group."""
    top: Numbers
    """(n,) of the input patch, in pixels of the degraded image; the target's is `scale` times as far."""
    left: Numbers
    symmetry: Numbers
    """(n,) 0 to 7: bit 0 mirrors left and right, bit 1 top and bottom, bit 2 then exchanges rows and columns."""

    def __len__(self) -> int:
        return len(self.image)

    def within(self, start: int, stop: int) -> "Part | None":
        """Those of the patches `start` to `stop` (not included) of the step; None if there are none."""
        chosen = slice(max(start - self.start, 0), max(stop - self.start, 0))
        if not len(self.image[chosen]):
            return None
        return Part(
            group=self.group,
            start=self.start + chosen.start,
            image=self.image[chosen],
            top=self.top[chosen],
            left=self.left[chosen],
            symmetry=self.symmetry[chosen],
        )


class Sampler:
    """The patches of a run: an epoch goes through its groups, and each group through its images in rounds.

    A round holds every image of the group once, in an order of its own, and there are `patches_per_image` rounds. So an
    epoch holds every image equally often (SCN paper, section 4.1: 1000 patches each). Places are uniform over the whole
    image, and so are the 8 symmetries.
    """

    def __init__(self, groups: Groups, images: int, experiment: Experiment) -> None:
        """`images`: how many there are in all."""
        self._groups = groups
        self._config = experiment.train
        self._scale = experiment.scale
        self._per_epoch = images * self._config.patches_per_image
        self._end = self._config.steps(images) * self._config.batch_size
        self._rounds: dict[tuple[int, int, int], Numbers] = {}

    def step(self, step: int) -> list[Part]:
        """The patches of step `step` (from 0): `batch` of them, in as many parts as they come from groups."""
        batch, done, parts = self._config.batch_size, 0, list[Part]()
        uniform = generator(self._config.seed, Purpose.PLACE, step).random((batch, 3))
        while done < batch:
            epoch, number, patch = self._place(step * batch + done)
            group = self._groups.of_epoch(epoch)[number]
            image = self._images(epoch, number, patch, batch - done)
            drawn = uniform[done : done + len(image)]
            room = group.sizes[image] // self._scale - self._config.patch_size + 1
            place = (drawn[:, :2] * room).astype(np.int64)
            symmetry = (drawn[:, 2] * 8).astype(np.int64)
            parts.append(
                Part(group=group, start=done, image=image, top=place[:, 0], left=place[:, 1], symmetry=symmetry)
            )
            done += len(image)
        return parts

    def following(self, step: int) -> Group | None:
        """The group that is used after the last one of step `step`; None if the run ends before."""
        last = (step + 1) * self._config.batch_size - 1
        epoch, number, patch = self._place(last)
        first = last - patch + self._patches(self._groups.of_epoch(epoch)[number])
        if first >= self._end:
            return None
        epoch, number, _ = self._place(first)
        return self._groups.of_epoch(epoch)[number]

    def _place(self, patch: int) -> tuple[int, int, int]:
        """The epoch of patch number `patch` of the run, its group in it, and its number in the group."""
        epoch, patch = divmod(patch, self._per_epoch)
        for number, group in enumerate(self._groups.of_epoch(epoch)):
            if patch < self._patches(group):
                return epoch, number, patch
            patch -= self._patches(group)
        raise AssertionError("the groups of an epoch hold all images")

    def _patches(self, group: Group) -> int:
        return len(group) * self._config.patches_per_image

    def _images(self, epoch: int, number: int, first: int, most: int) -> Numbers:
        """The images of the patches of a group from `first` on, `most` of them or as many as there are."""
        group = self._groups.of_epoch(epoch)[number]
        last = min(first + most, self._patches(group))
        rounds = range(first // len(group), -(-last // len(group)))
        keys = [(epoch, number, of_group) for of_group in rounds]
        # Neighbouring steps share a round, and a large one takes a while to shuffle.
        self._rounds = {key: self._rounds[key] if key in self._rounds else self._shuffled(key, group) for key in keys}
        images = np.concatenate([self._rounds[key] for key in keys])
        return images[first % len(group) :][: last - first]

    def _shuffled(self, key: tuple[int, int, int], group: Group) -> Numbers:
        return generator(self._config.seed, Purpose.ORDER, *key).permutation(len(group))
