"""The sampler chooses image, place and symmetry of every patch of a step, as a function of the seed and the step.

The choice also depends on the sizes of the images and on their groups, which follow from the manifest: no image has to
be read, and no earlier step has to be drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scn.config.params import Experiment
from scn.data.groups import Group, Groups
from scn.data.philox import Purpose, generator

Numbers = NDArray[np.int64]
"""Whole numbers, one for each patch."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """n consecutive patches of a step, cut from one group of images."""

    group: Group
    start: int
    """Number of the first patch in the step's batch."""
    image: Numbers
    """(n,) place of each patch's image in the group."""
    top: Numbers
    """(n,) top edge of each input patch, in pixels of the degraded image; the target's is `scale` times as far."""
    left: Numbers
    """(n,) left edge of each input patch, in pixels of the degraded image; the target's is `scale` times as far."""
    symmetry: Numbers
    """(n,) 0 to 7: bit 0 mirrors left and right, bit 1 top and bottom, bit 2 then exchanges rows and columns."""

    def __len__(self) -> int:
        return len(self.image)

    def within(self, start: int, stop: int) -> "Part | None":
        """The patches of this part that are `start` to `stop` (not included) of the step; None if there are none."""
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
    """Chooses the patches of a run: an epoch goes through its groups, and each group through its images in rounds.

    A round holds every image of the group once, in random order, and there are `patches_per_image` rounds. So an epoch
    holds every image equally often (SCN paper, section 4.1: 1000 patches each). Places are uniform over the whole
    image, and the 8 symmetries are equally likely. Where images are dealt to lanes, there is a sampler for each lane,
    with epochs of its own, which chooses the lane's part of a batch.
    """

    def __init__(self, groups: Groups, images: int, experiment: Experiment) -> None:
        """Makes the sampler of an experiment.

        Args:
            groups: the groups of images of every epoch; of a lane's images, if they are dealt.
            images: number of training images, of all lanes.
        """
        self._groups = groups
        self._config = experiment.train
        self._scale = experiment.scale
        self._batch = self._config.batch_size // self._config.dealt_lanes
        self._per_epoch = groups.images * self._config.patches_per_image
        self._end = self._config.steps(images) * self._batch
        self._rounds: dict[tuple[int, int, int], Numbers] = {}

    def step(self, step: int) -> list[Part]:
        """The patches of step `step` (from 0), one part for each group that they come from."""
        batch, done, parts = self._batch, 0, list[Part]()
        lane = self._groups.lane
        uniform = generator(self._config.seed, Purpose.PLACE, step, lane=lane).random((batch, 3))
        while done < batch:
            epoch, number, patch = self._place(step * batch + done)
            group = self._groups.of_epoch(epoch)[number]
            image = self._images(epoch, number, patch, batch - done)
            drawn = uniform[done : done + len(image)]
            room = group.sizes[image] // self._scale - self._config.patch_size + 1
            place = (drawn[:, :2] * room).astype(np.int64)
            symmetry = (drawn[:, 2] * 8).astype(np.int64)
            start = lane * batch + done
            parts.append(
                Part(group=group, start=start, image=image, top=place[:, 0], left=place[:, 1], symmetry=symmetry)
            )
            done += len(image)
        return parts

    def following(self, step: int) -> Group | None:
        """The group that the run uses after the groups of step `step`; None if the run ends before."""
        last = (step + 1) * self._batch - 1
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
        return generator(self._config.seed, Purpose.ORDER, *key, lane=self._groups.lane).permutation(len(group))
