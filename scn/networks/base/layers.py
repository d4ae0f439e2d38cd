"""What the networks share: the interface, convolutions, the enlargement by pixel shuffle."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as with_weight_norm

from scn.core.errors import UserError
from scn.networks.base.convolution import Convolution

IMAGE_MEAN = 0.5
"""Subtracted from the input and added to the output (the code of SCN's authors; not in their paper)."""

MakeConv = Callable[[int, int, int], nn.Module]
"""(input channels, output channels, kernel) -> a convolution that keeps height and width."""


class RestorationNetwork(nn.Module):
    """A network for images: float32 (N, C, H, W) in [0, 1] -> (N, C, sH, sW), about [0, 1], not clipped.

    Subclasses write `restore`, for images that have been checked.

    Args:
        channels: C, of the image.
        scale: s, the upscaling factor; 1: the output has the input's size.
    """

    smallest = 1
    """Shortest side of an image, in pixels, that the network takes."""

    def __init__(self, *, channels: int, scale: int) -> None:
        super().__init__()
        self.channels = channels
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        """Raises UserError for another type or number of channels, no image, or one that is too small."""
        if image.ndim != 4 or image.shape[1] != self.channels:
            raise UserError(
                f"The network takes images of shape (N, {self.channels}, H, W), not {tuple(image.shape)}: "
                "convert the image first."
            )
        if image.shape[0] == 0:
            raise UserError(f"The network takes one image or more, not {tuple(image.shape)}: leave it out.")
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
        return self.restore(image)

    def restore(self, image: Tensor) -> Tensor:
        """What `forward` does, without the checks."""
        raise NotImplementedError


def conv(inputs: int, outputs: int, kernel: int, *, weight_norm: bool = False) -> nn.Conv2d:
    """A convolution that keeps height and width; zeros around the image; `kernel` is odd."""
    layer = Convolution(inputs, outputs, kernel)
    return with_weight_norm(layer) if weight_norm else layer


class Upsampler(nn.Sequential):
    """(N, U, H, W) -> (N, U, sH, sW): a convolution and a pixel shuffle for each prime factor of the scale.

    So x4 is twice x2 (Lim et al. 2017, section 3.2; Ledig et al. 2017, figure 4), and x1 nothing.

    Args:
        make_conv: makes the convolutions U -> U * factor^2.
    """

    def __init__(self, units: int, scale: int, make_conv: MakeConv = conv) -> None:
        layers: list[nn.Module] = []
        for factor in prime_factors(scale):
            layers += [make_conv(units, units * factor**2, 3), nn.PixelShuffle(factor)]
        super().__init__(*layers)


def prime_factors(number: int) -> list[int]:
    """In ascending order; none of 1."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def shuffle(features: Tensor, scale: int) -> Tensor:
    """(N, C s^2, H, W) -> (N, C, sH, sW)."""
    return F.pixel_shuffle(features, scale) if scale > 1 else features
