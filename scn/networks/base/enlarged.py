"""The base class of the networks that work at the output's size: SRCNN, VDSR, DnCNN, ARCNN.

At a scale above 1 their input is the image's bicubic enlargement with MATLAB's kernel, which made the low resolution.
All are one chain of convolutions with ReLU between them; shapes: N batch, C channels, sH and sW height and width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from scn.networks.base.convolution import Convolution
from scn.networks.base.layers import RestorationNetwork
from scn.networks.base.resample import bicubic


class EnlargedNetwork(RestorationNetwork):
    """A chain of convolutions on the enlarged image: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    Features are padded with zeros, so that every layer keeps height and width; the papers of SRCNN and ARCNN train
    without padding and crop. Weights are drawn as in He et al. 2015 (the papers of VDSR and DnCNN), biases are 0.
    SRCNN's paper draws weights from a Gaussian of standard deviation 0.001, for plain gradient descent over 8e8 steps;
    here all networks start alike.

    Args:
        widths: channels before, between and after the convolutions.
        kernels: sides of the convolutions' kernels, odd.
        batch_norm: batch normalisation after all convolutions but the first and the last; these have no bias.
    """

    def __init__(
        self, widths: Sequence[int], kernels: Sequence[int], *, batch_norm: bool = False, channels: int, scale: int
    ) -> None:
        super().__init__(channels=channels, scale=scale)
        layers: list[nn.Module] = []
        last = len(kernels) - 1
        for i, (kernel, inputs, outputs) in enumerate(zip(kernels, widths, widths[1:], strict=False)):
            normalised = batch_norm and 0 < i < last
            layer = Convolution(inputs, outputs, kernel, bias=not normalised)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
            layers.append(layer)
            if normalised:
                layers.append(nn.BatchNorm2d(outputs))
            if i < last:
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def restore(self, image: Tensor) -> Tensor:
        image = bicubic(image, self.scale)
        return self.combine(image, self.layers(image))

    def combine(self, image: Tensor, features: Tensor) -> Tensor:
        """Combines the enlarged image and the last layer's output to the result; all are (N, C, sH, sW)."""
        return features
