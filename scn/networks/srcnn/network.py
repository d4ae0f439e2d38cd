"""SRCNN (Dong, Loy, He, Tang 2016, section 3.1)."""

from torch import Tensor

from scn.networks.base.enlarged import EnlargedNetwork
from scn.networks.base.resample import bicubic
from scn.networks.srcnn.config import SrcnnConfig

_LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_BLACK, _RANGE = 16 / 255, 219 / 255  # of the luma of BT.601


class SRCNN(EnlargedNetwork):
    """Three convolutions: F(Y) = W3 * max(0, W2 * max(0, W1 * Y + B1) + B2) + B3 (Dong et al. 2016, section 3.1).

    Y is the enlarged image: (N, C, H, W) in [0, 1] -> (N, C, sH, sW), not clipped. With config.luma it is the luma of
    MATLAB's rgb2ycbcr, from 16 / 255 to 235 / 255, and what F changes of it is added to the enlarged colours; a grey
    image (C = 1) is taken as a colour image with three such channels.
    """

    def __init__(self, config: SrcnnConfig, *, channels: int, scale: int) -> None:
        restored = 1 if config.luma else channels
        widths = [restored, config.units, config.units // 2, restored]
        super().__init__(widths, [9, config.kernel, 5], channels=channels, scale=scale)
        self.luma = config.luma

    def restore(self, image: Tensor) -> Tensor:
        if not self.luma:
            return super().restore(image)
        image = bicubic(image, self.scale)  # of colours and then their luma, which is the same in another order
        luma = _BLACK + sum(part * weight for part, weight in zip(image.split(1, dim=1), self._weights(), strict=True))
        return image + (self.layers(luma) - luma) / _RANGE  # the same to all channels leaves the chroma as it is

    def _weights(self) -> tuple[float, ...]:
        return _LUMA if self.channels == 3 else (_RANGE,)
