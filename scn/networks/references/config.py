"""Networks of other papers, to compare with on equal terms."""

from typing import Literal

from pydantic import Field

from scn.networks.base.config import Network, NetworkConfig
from scn.networks.scn.config import WideConfig


class SrcnnConfig(NetworkConfig):
    """SRCNN, 9-5-5: three convolutions on the enlarged image."""

    name: Literal["srcnn"] = "srcnn"
    units: int = Field(default=64, ge=2, le=4096, multiple_of=2)
    """Filters of the first layer (n1); the second has half as many (n2)."""
    kernel: Literal[1, 3, 5] = 5
    """Of the second layer (f2)."""


class ArcnnConfig(NetworkConfig):
    """ARCNN, 9-7-1-5: SRCNN with a layer of feature enhancement."""

    name: Literal["arcnn"] = "arcnn"
    units: int = Field(default=64, ge=4, le=4096, multiple_of=4)
    """Filters of the first layer (n1); the second has half, the third a quarter as many."""


class VdsrConfig(NetworkConfig):
    """VDSR: 3x3 convolutions on the enlarged image, added to it."""

    name: Literal["vdsr"] = "vdsr"
    layers: int = Field(default=20, ge=2, le=1000)
    """Convolutions."""
    units: int = Field(default=64, ge=1, le=4096)
    """Filters of every layer but the last."""


class DncnnConfig(NetworkConfig):
    """DnCNN: 3x3 convolutions with batch normalisation that predict the noise."""

    name: Literal["dncnn"] = "dncnn"
    layers: int = Field(default=17, ge=2, le=1000)
    """Convolutions: 17 for one noise level (DnCNN-S), 20 for several tasks at once (DnCNN-3)."""
    units: int = Field(default=64, ge=1, le=4096)
    """Filters of every layer but the last."""
    batch_norm: bool = True
    """Batch normalisation after every convolution but the first and the last."""


class EdsrConfig(NetworkConfig):
    """EDSR of the baseline's size: residual blocks without batch normalisation."""

    name: Literal["edsr"] = "edsr"
    blocks: int = Field(default=16, ge=1, le=1000)
    """Residual blocks."""
    units: int = Field(default=64, ge=1, le=4096)
    """Channels of the features between blocks."""
    residual_scaling: float = Field(default=1.0, gt=0, le=10)
    """What a block's residual is multiplied by: 1 at the baseline's size, 0.1 in the paper's large network."""


class WdsrConfig(WideConfig):
    """WDSR-A: residual blocks with wide activation; SCN's ancestor with one level."""

    name: Literal["wdsr"] = "wdsr"
    blocks: int = Field(default=16, ge=1, le=1000)


ENTRIES = (
    Network(
        parameters=SrcnnConfig,
        title="Super-Resolution Convolutional Neural Network",
        paper="Dong, Loy, He, Tang: Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016",
        section="3.1",
        licence="published idea; no licence of the authors' code was seen",
        channels=1,
        scale=4,
    ),
    Network(
        parameters=VdsrConfig,
        title="Very Deep Super-Resolution network",
        paper="Kim, Lee, Lee: Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016",
        section="3.1",
        licence="published idea; no licence of the authors' code was seen",
        channels=1,
        scale=4,
    ),
    Network(
        parameters=DncnnConfig,
        title="Denoising Convolutional Neural Network",
        paper="Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser, TIP 2017",
        section="III",
        licence="published idea; the first author's code (cszn/KAIR), not used here, is MIT",
        channels=1,
        scale=1,
    ),
    Network(
        parameters=ArcnnConfig,
        title="Artifacts Reduction Convolutional Neural Network",
        paper="Dong, Deng, Loy, Tang: Compression Artifacts Reduction by a Deep Convolutional Network, ICCV 2015",
        section="3.2",
        licence="published idea; no licence of the authors' code was seen",
        channels=1,
        scale=1,
    ),
    Network(
        parameters=EdsrConfig,
        title="Enhanced Deep Super-Resolution network, baseline",
        paper="Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image SR, CVPR Workshops 2017",
        section="3.2",
        licence="published idea; an author's code (sanghyun-son/EDSR-PyTorch), not used here, is MIT",
        scale=2,
    ),
    Network(
        parameters=WdsrConfig,
        title="Wide-activation Deep Super-Resolution network, WDSR-A",
        paper="Yu, Fan, Yang, Xu, Wang, Huang: Wide Activation for Efficient and Accurate Image SR, arXiv 1808.08718",
        section="3.1",
        licence="published idea; an author's code (ychfan/wdsr), not used here, is MIT",
        scale=2,
    ),
)
