"""The image pool: uint8 images in memory, and the patches that are cut from them, all of a batch at once."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scn.config.params import Experiment
from scn.data.groups import Group
from scn.data.sampler import Part
from scn.shards.samples import About, Image, Sample


class ImagePool:
    """The images of a group in memory: targets and, where the task stores them, degraded images."""

    def __init__(
        self, group: Group, experiment: Experiment, memory: Tensor, names: Mapping[int, str] | None = None
    ) -> None:
        """Takes `memory`, which holds the images, or which `paste` fills with them.

        Args:
            memory: uint8 (n,), where n is the group's `group_bytes`, on the device that patches are cut on.
            names: names of the images that `memory` holds: place in the group -> name.
        """
        self._group = group
        self._scale = experiment.scale
        self._patch = experiment.train.patch_size
        self._pasted: list[About] = []
        self.names = dict(names or {})
        """Names of the images that are here: place in the group -> name."""
        self.memory = memory
        pixels = memory.view(-1, experiment.task.image_channels)
        targets = int(group.sizes.prod(axis=1).sum())
        self._hr = Stack(pixels[:targets], group.sizes)
        self._lr = Stack(pixels[targets:], group.sizes // self._scale) if experiment.task.stored else None

    def paste(self, sample: Sample) -> None:
        """Copies an image or a sub-image to its place; several threads may do so at once."""
        about = sample.about
        place = int(np.searchsorted(self._group.images, about.index))
        self.names[place] = sample.name
        self._hr.paste(place, about.top, about.left, sample.hr)
        if self._lr is not None:
            assert sample.lr is not None
            self._lr.paste(place, about.top // self._scale, about.left // self._scale, sample.lr)
        self._pasted.append(about)

    @property
    def is_whole(self) -> bool:
        """True if every image of the group is here with all its sub-images."""
        parts = {about.index: about.parts for about in self._pasted}
        pasted = {(about.index, about.part) for about in self._pasted}
        return parts.keys() == set(self._group.images.tolist()) and len(pasted) == sum(parts.values())

    def cut(self, part: Part) -> tuple[Tensor, Tensor]:
        """Cuts n patches: inputs (n, C, p, p) and targets (n, C, sp, sp), uint8, channels last in memory."""
        s, p = self._scale, self._patch
        target = self._hr.cut(part.image, part.top * s, part.left * s, part.symmetry, p * s)
        if self._lr is None:
            return target, target
        return self._lr.cut(part.image, part.top, part.left, part.symmetry, p), target


class Stack:
    """Images of any sizes with C channels, stored as the rows of one uint8 tensor (pixels, C)."""

    def __init__(self, pixels: Tensor, sizes: NDArray[np.int64]) -> None:
        """Takes the rows, (pixels, C), and the height and width of each of the n images, (n, 2)."""
        self._pixels, self._sizes = pixels, sizes
        self._starts = np.cumsum(sizes.prod(axis=1)) - sizes.prod(axis=1)

    def paste(self, image: int, top: int, left: int, pixels: Image) -> None:
        """Copies pixels (H, W) or (H, W, C) to row `top` and column `left` of image number `image`."""
        height, width = map(int, self._sizes[image])
        start = int(self._starts[image])
        canvas = self._pixels[start : start + height * width].view(height, width, -1)
        rows, columns = pixels.shape[:2]
        canvas[top : top + rows, left : left + columns] = torch.from_numpy(pixels).view(rows, columns, -1)

    def cut(
        self,
        image: NDArray[np.int64],
        top: NDArray[np.int64],
        left: NDArray[np.int64],
        symmetry: NDArray[np.int64],
        side: int,
    ) -> Tensor:
        """Cuts n squares of `side` pixels, each turned by its symmetry: (n, C, side, side).

        In memory the pixels of a turned square are a constant step apart along rows and along columns, so the place of
        each is a sum of three terms, and one gather fetches all.

        Args:
            image, top, left, symmetry: (n,) as in scn.data.sampler.Part.
        """
        device, width = self._pixels.device, self._sizes[image, 1]
        mirrored, upside_down, transposed = ((symmetry & bit) > 0 for bit in (1, 2, 4))
        down, right = np.where(upside_down, -width, width), np.where(mirrored, -1, 1)
        first_row, first_column = top + upside_down * (side - 1), left + mirrored * (side - 1)
        corner = self._starts[image] + first_row * width + first_column
        along_rows, along_columns = np.where(transposed, right, down), np.where(transposed, down, right)
        terms = torch.from_numpy(np.stack([corner, along_rows, along_columns]))
        if device.type == "cuda":  # a pageable copy would wait for all that the GPU has to do before it
            terms = terms.pin_memory().to(device, non_blocking=True)
        start, by_row, by_column = terms[:, :, None, None]
        ruler = torch.arange(side, device=device)
        places = start + by_row * ruler[:, None] + by_column * ruler
        # index_select is the fastest gather on a CPU.
        pixels = self._pixels.index_select(0, places.view(-1))
        return pixels.view(*places.shape, -1).permute(0, 3, 1, 2)
