"""The table of the networks that `model.name` may ask for. It imports no PyTorch.

A row describes a network and names its class, which is imported when a network is built (scn.networks.build).
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from scn.core.errors import UserError
from scn.core.schema import UnknownNameError, check, unknown
from scn.networks.arcnn.config import ArcnnConfig
from scn.networks.base.config import NetworkConfig
from scn.networks.dncnn.config import DncnnConfig
from scn.networks.edsr.config import EdsrConfig
from scn.networks.ms_conv.config import CarnConfig, SrresnetConfig
from scn.networks.msrresnet.config import MsrresnetConfig
from scn.networks.replication.config import ScaleWiseAdaptiveConfig, ScaleWiseOriginalConfig
from scn.networks.scn.config import (
    BaselineConfig,
    PSPNetConfig,
    ScnConfig,
    UNetConfig,
    UnsharedConfig,
    UnsharedLargeConfig,
)
from scn.networks.srcnn.config import SrcnnConfig
from scn.networks.vdsr.config import VdsrConfig
from scn.networks.wdsr.config import WdsrConfig


@dataclass(frozen=True, kw_only=True)
class Network:
    """A row of the table of networks: a network's config, class, paper and licence."""

    config: type[NetworkConfig]
    implementation: str
    """The network's class, "module:class"; it is called with the config, `channels` and `scale`."""
    title: str
    """Full name of the network."""
    paper: str
    """Authors, title and year of the paper."""
    section: str
    """Section of the paper that describes the network."""
    licence: str
    """The licence of the idea and of the authors' code; none of that code is used here."""
    channels: Literal[1, 3] = 3
    """Channels of the image in the paper's own figures."""
    scale: int = 1
    """Upscaling factor in the paper's own figures."""

    @property
    def name(self) -> str:
        """The network's name, as its config has it."""
        return str(self.config.model_fields["name"].default)


_NO_LICENCE = "published idea; no licence of the authors' code was seen"
_SCN: dict[str, Any] = {
    "paper": "Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020",
    "licence": _NO_LICENCE,
    "scale": 2,
}
_REPLICATION: dict[str, Any] = {
    "paper": "Pratap: Scale-wise Convolution for image restoration (project report), Purdue University 2024",
    "licence": "published idea; the author's code (Mayankpr04/ai_scn), not used here, names no licence",
    "scale": 2,
}
_MS_CONV = (
    "Feng, Guan, Qiao, Dong: Exploring Multi-Scale Feature Propagation and Communication for Image Super Resolution, "
    "arXiv:2008.00239, 2020"
)

DEFAULT = "scn"
"""The network of a configuration that names none."""

NETWORKS: Mapping[str, Network] = {
    "scn": Network(
        config=ScnConfig,
        implementation="scn.networks.scn.network:SCN",
        title="Scale-wise Convolutional Network",
        section="3",
        **_SCN,
    ),
    "scn-baseline": Network(
        config=BaselineConfig,
        implementation="scn.networks.wdsr.network:WDSR",
        title="SCN's single-scale baseline",
        section="4.3, table 5",
        **_SCN,
    ),
    "scn-unshared": Network(
        config=UnsharedConfig,
        implementation="scn.networks.scn.network:SCN",
        title="SCN with un-shared weights",
        section="4.3, table 5",
        **_SCN,
    ),
    "scn-unshared-large": Network(
        config=UnsharedLargeConfig,
        implementation="scn.networks.scn.network:SCN",
        title="SCN un-shared, large",
        section="4.3, table 5",
        **_SCN,
    ),
    "scn-unet": Network(
        config=UNetConfig,
        implementation="scn.networks.scn.ablations:UNetStyle",
        title="SCN's U-Net style counterpart",
        section="3.2, table 4",
        **_SCN,
    ),
    "scn-pspnet": Network(
        config=PSPNetConfig,
        implementation="scn.networks.scn.ablations:PSPNetStyle",
        title="SCN's PSPNet style counterpart",
        section="3.2, table 4",
        **_SCN,
    ),
    "srcnn": Network(
        config=SrcnnConfig,
        implementation="scn.networks.srcnn.network:SRCNN",
        title="Super-Resolution Convolutional Neural Network",
        paper="Dong, Loy, He, Tang: Image Super-Resolution Using Deep Convolutional Networks, TPAMI 2016",
        section="3.1",
        licence=_NO_LICENCE,
        channels=1,
        scale=4,
    ),
    "vdsr": Network(
        config=VdsrConfig,
        implementation="scn.networks.vdsr.network:VDSR",
        title="Very Deep Super-Resolution network",
        paper="Kim, Lee, Lee: Accurate Image Super-Resolution Using Very Deep Convolutional Networks, CVPR 2016",
        section="3.1",
        licence=_NO_LICENCE,
        channels=1,
        scale=4,
    ),
    "dncnn": Network(
        config=DncnnConfig,
        implementation="scn.networks.dncnn.network:DnCNN",
        title="Denoising Convolutional Neural Network",
        paper="Zhang, Zuo, Chen, Meng, Zhang: Beyond a Gaussian Denoiser, TIP 2017",
        section="III",
        licence="published idea; the first author's code (cszn/KAIR), not used here, is MIT",
        channels=1,
    ),
    "arcnn": Network(
        config=ArcnnConfig,
        implementation="scn.networks.arcnn.network:ARCNN",
        title="Artifacts Reduction Convolutional Neural Network",
        paper="Dong, Deng, Loy, Tang: Compression Artifacts Reduction by a Deep Convolutional Network, ICCV 2015",
        section="3.2",
        licence=_NO_LICENCE,
        channels=1,
    ),
    "edsr": Network(
        config=EdsrConfig,
        implementation="scn.networks.edsr.network:EDSR",
        title="Enhanced Deep Super-Resolution network, baseline",
        paper="Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image SR, CVPR Workshops 2017",
        section="3.2",
        licence="published idea; an author's code (sanghyun-son/EDSR-PyTorch), not used here, is MIT",
        scale=2,
    ),
    "wdsr": Network(
        config=WdsrConfig,
        implementation="scn.networks.wdsr.network:WDSR",
        title="Wide-activation Deep Super-Resolution network, WDSR-A",
        paper="Yu, Fan, Yang, Xu, Wang, Huang: Wide Activation for Efficient and Accurate Image SR, arXiv 1808.08718",
        section="3.1",
        licence="published idea; an author's code (ychfan/wdsr), not used here, is MIT",
        scale=2,
    ),
    "msrresnet": Network(
        config=MsrresnetConfig,
        implementation="scn.networks.msrresnet.network:MSRResNet",
        title="Modified SRResNet",
        paper="Wang, Yu, Wu, Gu, Liu, Dong, Qiao, Loy: ESRGAN, ECCV Workshops 2018; SRResNet: Ledig et al., CVPR 2017",
        section="4.2",
        licence="published idea; the code in BasicSR (Apache-2.0) and KAIR (MIT) is not used here",
        scale=4,
    ),
    "scalewise-original": Network(
        config=ScaleWiseOriginalConfig,
        implementation="scn.networks.replication.network:ScaleWiseNetwork",
        title="ScaleWiseNetwork, original",
        section="Scale-Wise-Network (original)",
        **_REPLICATION,
    ),
    "scalewise-adaptive": Network(
        config=ScaleWiseAdaptiveConfig,
        implementation="scn.networks.replication.network:AdaptiveScaleWiseNetwork",
        title="ScaleWiseNetwork, adaptive",
        section="Adaptive Scale-wise convolution model",
        **_REPLICATION,
    ),
    "srresnet": Network(
        config=SrresnetConfig,
        implementation="scn.networks.ms_conv.srresnet:SRResNet",
        title="SRResNet without batch normalisation, with multi-scale convolutions",
        paper=f"{_MS_CONV}; Ledig et al.: Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial "
        "Network, CVPR 2017",
        section="3 and 4; backbone: 2.1.1",
        licence="published ideas; no code of the authors was seen",
        scale=4,
    ),
    "carn": Network(
        config=CarnConfig,
        implementation="scn.networks.ms_conv.carn:CARN",
        title="Cascading Residual Network, with multi-scale convolutions",
        paper=f"{_MS_CONV}; Ahn, Kang, Sohn: Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual "
        "Network, ECCV 2018",
        section="3 and 4.3; backbone: 3",
        licence="published ideas; CARN's authors' code, not used here, is MIT; no code of the MS-Conv authors was seen",
        scale=4,
    ),
}
"""Every network, by name."""


def list_networks() -> list[Network]:
    """Every network that `create_model` makes, with its title, paper, licence and the schema of its parameters.

    `[network.name for network in list_networks()]` are the names.
    """
    return list(NETWORKS.values())


def network_config(raw: Mapping[str, Any], source: object, place: str = "") -> NetworkConfig:
    """Checks the parameters of the network that raw["name"] names; those that are not given have its defaults.

    Args:
        raw: parameter -> value; without "name" the network is DEFAULT.
        source: where `raw` was read, named first in a message: a path, or a few words.
        place: the dotted key of `raw` in `source`; "" for the top level.
    Raises:
        UserError: for a value out of its range; UnknownNameError for an unknown network, or as scn.core.schema.check.
    """
    name = raw.get("name", DEFAULT)
    if not isinstance(name, str) or name not in NETWORKS:
        where = f"{place}.name: " if place else ""
        raise UnknownNameError(f"{source}: {where}{unknown(str(name), NETWORKS, 'network')}.")
    return check(NETWORKS[name].config, raw, source, place)


def completed(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture, as scn.networks.build takes it, with the defaults of what it leaves out.

    One that was written before a parameter existed is then equal to one that gives it its default. A network that is
    not known here stays as it is.
    """
    images: dict[str, Any] = {"channels": 3, "scale": 1}
    own = {key: value for key, value in architecture.items() if key not in images}
    with suppress(UserError):
        own = network_config(own, "The network").model_dump()
    return {**own, **{key: architecture.get(key, usual) for key, usual in images.items()}}
