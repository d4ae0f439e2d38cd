"""Head, tail and skip of widely-activated networks (Yu et al. 2018; SCN paper, section 3.2 and figure 2)."""

from contextlib import nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.networks.base.config import WideConfig
from scn.networks.base.layers import IMAGE_MEAN, RestorationNetwork, conv, shuffle


class Trunk(nn.Module):
    """The part of a network between head and tail: (N, U, H, W) -> (N, U, H, W)."""

    @property
    def multiple(self) -> int:
        """The number of pixels that height and width must be multiples of."""
        return 1

    def sides(self, side: int) -> list[int]:
        """The sizes that a side of `side` pixels has at every scale, finest first."""
        return [side]


class WideNetwork(RestorationNetwork):
    """The network shuffle(tail(trunk(head(x))) + skip(x)), all convolutions linear: (N, C, H, W) -> (N, C, sH, sW).

    At scale 1 (denoising, JPEG) there is neither the pixel shuffle nor the 5x5 convolution of the global skip: the
    input itself is added to the result (golden vectors of the authors' network; the paper says only what is removed).
    """

    trunk: Trunk
    make_trunk: ClassVar[type[Trunk]]
    """The class of the trunk, which is called with the network's config."""

    def __init__(self, config: WideConfig, *, channels: int, scale: int) -> None:
        super().__init__(channels=channels, scale=scale)
        units, outputs, weight_norm = config.units, channels * scale**2, config.weight_norm
        self.head = conv(channels, units, 3, weight_norm=weight_norm)
        self.trunk = self.make_trunk(config)
        self.tail = conv(units, outputs, 3, weight_norm=weight_norm)
        self.skip = conv(channels, outputs, 5, weight_norm=weight_norm) if scale > 1 else None

    def restore(self, image: Tensor) -> Tensor:
        x = image - IMAGE_MEAN
        features = self.trunk(self.head(self._pad(x)))
        # The last sums keep the image's precision: in bfloat16 they alone would round by half a step of 1/255.
        device = x.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            features = self.tail(features.to(x.dtype))[..., : x.shape[-2], : x.shape[-1]]
            features = features + (x if self.skip is None else self.skip(x))
        return shuffle(features, self.scale) + IMAGE_MEAN

    @property
    def multiple(self) -> int:
        return self.trunk.multiple

    def sides(self, side: int) -> list[int]:
        return self.trunk.sides(side + -side % self.multiple)

    def _pad(self, x: Tensor) -> Tensor:
        """Repeats the last row and column until both sides are multiples of the trunk's (the authors' code)."""
        multiple = self.trunk.multiple
        # Not -side % multiple: torch.compile has no remainder of negative symbols.
        bottom, right = ((multiple - side % multiple) % multiple for side in x.shape[-2:])
        return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
