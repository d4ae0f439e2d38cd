"""The image pool: uint8 images in memory, and the patches that are cut from them, all of a batch at once."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.data.groups import Group, image_bytes
from scn.data.sampler import Part
from scn.shards.samples import About, Image, Sample


class ImagePool:
    """The images of a group on a device: targets and, where the task stores them, degraded images."""

    def __init__(self, group: Group, experiment: Experiment, device: torch.device) -> None:
        """Reserves memory for the images; `paste` fills it. Raises UserError if the device has not enough."""
        self._group = group
        self._scale = experiment.scale
        self._patch = experiment.train.patch_size
        self._pasted: list[About] = []
        self.names: dict[int, str] = {}
        """Names of the images that are here: place in the group -> name."""
        channels = experiment.task.image_channels
        try:
            self._hr = Stack(group.sizes, channels, device)
            self._lr = Stack(group.sizes // self._scale, channels, device) if experiment.task.stored else None
        except RuntimeError as error:  # on a GPU torch.OutOfMemoryError, on a CPU a bare one
            if "allocate" not in str(error):
                raise
            mib = sum(image_bytes(experiment, *map(int, size)) for size in group.sizes) / 2**20
            raise UserError(
                f"{device} has no room for the {len(group)} training images of {experiment.name}, {mib:.0f} MiB "
                "uncompressed: set train.group_mib, so that a group of them is in memory at a time."
            ) from None

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

    def __init__(self, sizes: NDArray[np.int64], channels: int, device: torch.device) -> None:
        self._sizes = sizes
        ends = np.cumsum(sizes.prod(axis=1))
        self._starts = ends - sizes.prod(axis=1)
        self._pixels = torch.empty((int(ends[-1]), channels), dtype=torch.uint8, device=device)

    def paste(self, image: int, top: int, left: int, pixels: Image) -> None:
        """Copies pixels (H, W) or (H, W, C) to row `top` and column `left` of image number `image`."""
        height, width = map(int, self._sizes[image])
        start = int(self._starts[image])
        canvas = self._pixels[start : start + height * width].view(height, width, -1)
        rows, columns = pixels.shape[:2]
        part = torch.from_numpy(pixels).to(self._pixels.device)
        canvas[top : top + rows, left : left + columns] = part.view(rows, columns, -1)

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
