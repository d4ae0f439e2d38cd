"""The base class of all networks, their convolutions, and the enlargement by pixel shuffle."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as with_weight_norm

from scn.core.errors import UserError
from scn.networks.base.convolution import Convolution
from scn.networks.base.weights import made_once

IMAGE_MEAN = 0.5
"""Mean that is subtracted from the input and added to the output (the code of SCN's authors; not in their paper)."""


class RestorationNetwork(nn.Module):
    """Base class of networks: float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), about [0, 1], not clipped.

    Subclasses implement `restore`, which is called with images that have been checked.

    Args:
        channels: C, the image's channels.
        scale: s, the upscaling factor; 1: the output has the input's size.
    """

    smallest = 1
    """Shortest side, in pixels, of an image that the network takes."""

    def __init__(self, *, channels: int, scale: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = scale

    @property
    def multiple(self) -> int:
        """The number of pixels that an image's sides are padded to multiples of; 1: they are not."""
        return 1

    def sides(self, side: int) -> list[int]:
        """The sizes that an image's side of `side` pixels has wherever features are resampled, finest first."""
        return [side]

    def forward(self, image: Tensor) -> Tensor:
        """Checks the images and restores them. Raises UserError for a type or shape that the network does not take."""
        if image.ndim != 4 or image.shape[1] != self.channels:
            raise UserError(
                f"The network takes images of shape (N, {self.channels}, H, W), not {tuple(image.shape)}: "
                "convert the image first."
            )
        if image.shape[0] == 0:
            raise UserError(f"The network takes one image or more, not {tuple(image.shape)}: give it one.")
        own = next(self.parameters(), image).dtype  # under autocast it is the images' type, too
        if image.dtype != own:
            raise UserError(
                f"The network takes images of {own} with values in [0, 1], not {image.dtype}: convert the image first."
            )
        if min(image.shape[-2:]) < self.smallest:
            raise UserError(
                f"The network takes images of at least {self.smallest}x{self.smallest} pixels, not "
                f"{image.shape[-1]}x{image.shape[-2]}: enlarge or pad the image first."
            )
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():  # a compiler finds what is computed twice
            return self.restore(image)
        with made_once(self):
            return self.restore(image)

    def restore(self, image: Tensor) -> Tensor:
        """The network's function: (N, C, H, W), which has been checked -> (N, C, sH, sW)."""
        raise NotImplementedError


def conv(inputs: int, outputs: int, kernel: int, *, weight_norm: bool = False) -> nn.Conv2d:
    """Makes a convolution that keeps height and width, with zeros around the image; `kernel` is odd."""
    layer = Convolution(inputs, outputs, kernel)
    return with_weight_norm(layer) if weight_norm else layer


def prime_factors(number: int) -> list[int]:
    """The prime factors of a number, in ascending order; 1 has none."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def shuffle(features: Tensor, scale: int) -> Tensor:
    """Pixel shuffle, (N, C s^2, H, W) -> (N, C, sH, sW); at scale 1 the features as they are."""
    return F.pixel_shuffle(features, scale) if scale > 1 else features
