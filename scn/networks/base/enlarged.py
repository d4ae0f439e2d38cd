"""The references that work at the output's size: SRCNN, VDSR, DnCNN, ARCNN.

At a scale above 1 their input is the image's bicubic enlargement (the kernel that made the low resolution, MATLAB's).
All are one chain of convolutions with ReLU between them; shapes: N batch, C channels, sH and sW height and width.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from scn.networks.base.convolution import Convolution
from scn.networks.base.layers import RestorationNetwork
from scn.networks.base.resample import bicubic


class EnlargedNetwork(RestorationNetwork):
    """A chain of convolutions on the enlarged image: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped.

    Zeros are put around the features, so that every layer keeps the size; the papers of SRCNN and ARCNN train without
    and crop. Weights start as He et al. 2015 draw them (the papers of VDSR and DnCNN), biases at 0. SRCNN's paper draws
    from a Gaussian of standard deviation 0.001, for plain gradient descent over 8e8 steps; here all start alike.

    Args:
        widths: channels before, between and after the convolutions.
        kernels: their sizes, odd.
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
        """What the enlarged image and the last layer's output, both (N, C, sH, sW), make together."""
        return features


class SRCNN(EnlargedNetwork):
    """Dong, Loy, He, Tang 2016, section 3.1: F(Y) = W3 * max(0, W2 * max(0, W1 * Y + B1) + B2) + B3.

    Args:
        units: filters of the first layer (n1), even; the second has half as many (n2), as in all the paper's versions.
        kernel: of the second layer (f2); 5 is the paper's 9-5-5.
    """

    def __init__(self, *, units: int, kernel: int, channels: int, scale: int) -> None:
        super().__init__([channels, units, units // 2, channels], [9, kernel, 5], channels=channels, scale=scale)


class ARCNN(EnlargedNetwork):
    """Dong, Deng, Loy, Tang 2015, section 3.2: SRCNN with a layer of feature enhancement, 9-7-1-5.

    Args:
        units: filters of the first layer (n1), a multiple of 4; the next have a half and a quarter of it.
    """

    def __init__(self, *, units: int, channels: int, scale: int) -> None:
        widths = [channels, units, units // 2, units // 4, channels]
        super().__init__(widths, [9, 7, 1, 5], channels=channels, scale=scale)


class VDSR(EnlargedNetwork):
    """Kim, Lee, Lee 2016, section 3.1: the enlarged image plus a residual from a chain of 3x3 convolutions.

    Args:
        layers: convolutions.
        units: filters of each but the last.
    """

    def __init__(self, *, layers: int, units: int, channels: int, scale: int) -> None:
        widths = [channels, *[units] * (layers - 1), channels]
        super().__init__(widths, [3] * layers, channels=channels, scale=scale)

    def combine(self, image: Tensor, features: Tensor) -> Tensor:
        return image + features


class DnCNN(EnlargedNetwork):
    """Zhang, Zuo, Chen, Meng, Zhang 2017, section III: the image less the noise that the chain predicts, x = y - R(y).

    Args:
        layers: convolutions, of 3x3.
        units: filters of each but the last.
        batch_norm: see EnlargedNetwork.
    """

    def __init__(self, *, layers: int, units: int, batch_norm: bool, channels: int, scale: int) -> None:
        widths = [channels, *[units] * (layers - 1), channels]
        super().__init__(widths, [3] * layers, batch_norm=batch_norm, channels=channels, scale=scale)

    def combine(self, image: Tensor, features: Tensor) -> Tensor:
        return image - features
