"""Which images of an evaluation set keep their pictures: those where the model gains most and least."""

import bisect

from scn.evaluation.measuring import Measured
from scn.evaluation.results import ImageResult, gain

EACH = 2
"""Number of images at each end of the order that keep their pictures."""


class Kept:
    """Collects the images of a set and holds the pictures of a few: memory does not grow with the set."""

    def __init__(self, protocol: str) -> None:
        """Starts a set; images are ordered by the model's gain in PSNR over the input under `protocol`."""
        self._protocol = protocol
        self._images: list[tuple[float, str, Measured]] = []  # the least gain first; a name stands once in a set

    def add(self, image: Measured) -> ImageResult:
        """Takes an image, keeps its pictures if it belongs to the ends so far, and returns its figures."""
        key = (gain(image.result, self._protocol), image.result.name)
        bisect.insort(self._images, (*key, image), key=lambda entry: entry[:2])
        del self._images[EACH : max(EACH, len(self._images) - EACH)]  # neither among the first nor the last
        return image.result

    @property
    def pictures(self) -> list[Measured]:
        """The images that keep their pictures, the least gain first."""
        return [image for *_, image in self._images]

    @property
    def most(self) -> list[str]:
        """Names of the images with the largest gains, the largest first; at most half of the set, rounded up."""
        count = min(EACH, (len(self._images) + 1) // 2)
        return [name for _, name, _ in self._images[::-1][:count]]

    @property
    def least(self) -> list[str]:
        """Names of the images with the smallest gains, the smallest first; none of them is in `most`."""
        count = min(EACH, len(self._images) // 2)
        return [name for _, name, _ in self._images[:count]]
