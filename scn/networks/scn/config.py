"""The network of the SCN paper, and those it is compared with in its ablation study."""

from typing import Any, Literal

from pydantic import Field, model_validator

from scn.networks.base.config import Network, NetworkConfig

PAPER = "Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020"
LICENCE = "published idea; no licence of the authors' code was seen"


LARGEST_MULTIPLE = 256
"""Pixels. An image is padded to a multiple of what the coarsest level needs, at most this: 8 scales of ratio 1/2, where
the paper goes to 6."""


def multiple_of(scales: int, ratio: float) -> int:
    """Of what height and width must be multiples, so that a level of ratio 1/m is exactly m times smaller: m^scales.

    1 for another ratio: no multiple does it.
    """
    factor = round(1 / ratio)
    return factor**scales if abs(factor * ratio - 1) < 1e-6 else 1


def check_multiple(scales: int, ratio: float) -> None:
    """ValueError if images would be padded to more than LARGEST_MULTIPLE."""
    if multiple_of(scales, ratio) > LARGEST_MULTIPLE:
        most = next(fewer for fewer in reversed(range(scales)) if multiple_of(fewer, ratio) <= LARGEST_MULTIPLE)
        raise ValueError(
            f"scales: {scales} of ratio {ratio} would pad every image to a multiple of more than {LARGEST_MULTIPLE} "
            f"pixels: use at most {most}, or a ratio other than 1/2, 1/3 and so on"
        )


class WideConfig(NetworkConfig):
    """What all widely-activated networks have."""

    blocks: int = Field(default=8, ge=1, le=1000)
    """Residual blocks."""
    units: int = Field(default=32, ge=1, le=4096)
    """Channels of the features between blocks (the paper's residual units)."""
    width: int = Field(default=4, ge=1, le=64)
    """Channels before the activation, as a multiple of `units` (wide activation)."""
    weight_norm: bool = True
    """Weight normalisation of every convolution while training."""


class _ScaleWise(WideConfig):
    kernel: int = Field(default=3, ge=3, le=15)
    """Levels that a scale-wise convolution covers, 2k + 1: an odd number."""
    scales: int = Field(default=4, ge=1, le=64)
    """Levels of the feature pyramid."""
    ratio: float = Field(default=0.5, ge=0.01, lt=1)
    """Size of a level relative to the one above it."""
    resampling: Literal["bilinear", "pooling", "strided"] = "bilinear"
    """h_i: bilinear; average pooling and nearest neighbour; strided and transposed convolution (table 6)."""
    ends: Literal["published", "zero", "replicate"] = "published"
    """What stands beyond the ends of the pyramid: the level's own features as in the authors' code, nothing, or the
    level at the end."""
    factorised: bool = True
    """f_i = h_i . q_i . p; otherwise h_i . g_i, a 3x3 convolution for every i."""

    @model_validator(mode="after")
    def _possible(self) -> "_ScaleWise":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: {self.kernel} is even: a convolution has a level in its middle")
        if self.resampling != "bilinear" and abs(round(1 / self.ratio) * self.ratio - 1) > 1e-6:
            raise ValueError(f"ratio: {self.resampling} has only 1/2, 1/3, ..., not {self.ratio}; bilinear has any")
        check_multiple(self.scales, self.ratio)
        if self.resampling == "strided" and self.ends == "replicate":
            raise ValueError("ends: strided convolutions can't replicate, a kernel belongs to one distance of levels")
        if self.resampling == "strided" and (stride := multiple_of(self.kernel // 2, self.ratio)) > LARGEST_MULTIPLE:
            raise ValueError(
                f"kernel: {self.kernel} levels of ratio {self.ratio} need strides of {stride} pixels: use fewer levels"
            )
        return self


class ScnConfig(_ScaleWise):
    """Scale-wise Convolutional Network (SCN paper, section 3)."""

    name: Literal["scn"] = "scn"
    shared: bool = True
    """The same weights at every level; otherwise each has its own (table 5)."""


class BaselineConfig(WideConfig):
    """Single-scale baseline (table 5): the network without its pyramid, as deep and wide."""

    name: Literal["scn-baseline"] = "scn-baseline"
    blocks: int = Field(default=16, ge=1, le=1000)


class _Unshared(_ScaleWise):
    blocks: int = Field(default=16, ge=1, le=1000)


class UnsharedConfig(_Unshared):
    """Un-shared (table 5): weights for every level, fewer units so that there are 1.2 M of them."""

    name: Literal["scn-unshared"] = "scn-unshared"
    units: int = Field(default=16, ge=1, le=4096)


class UnsharedLargeConfig(_Unshared):
    """Un-shared Large (table 5): 2.1 M parameters."""

    name: Literal["scn-unshared-large"] = "scn-unshared-large"
    units: int = Field(default=21, ge=1, le=4096)


class UNetConfig(WideConfig):
    """U-Net style (figure 3, table 4): 2 scales in encoder and decoder, 2 blocks in each, 8 in all."""

    name: Literal["scn-unet"] = "scn-unet"
    scales: int = Field(default=2, ge=1, le=8)
    """Levels of encoder and decoder; twice as many divide `blocks`."""

    @model_validator(mode="after")
    def _even(self) -> "UNetConfig":
        if self.blocks % (2 * self.scales):
            raise ValueError(
                f"blocks: {self.blocks} can't be split evenly among {self.scales} scales of encoder and decoder"
            )
        return self


class PSPNetConfig(WideConfig):
    """PSPNet style (figure 3, table 4): 2 scales of 8 blocks; fewer units, so that all have as many parameters."""

    name: Literal["scn-pspnet"] = "scn-pspnet"
    units: int = Field(default=23, ge=1, le=4096)
    scales: int = Field(default=2, ge=1, le=8)
    """Scales that go their own ways."""


_OF_PAPER: dict[str, Any] = {"paper": PAPER, "licence": LICENCE, "scale": 2}

ENTRIES = (
    Network(parameters=ScnConfig, title="Scale-wise Convolutional Network", section="3", **_OF_PAPER),
    Network(parameters=BaselineConfig, title="SCN's single-scale baseline", section="4.3, table 5", **_OF_PAPER),
    Network(parameters=UnsharedConfig, title="SCN with un-shared weights", section="4.3, table 5", **_OF_PAPER),
    Network(parameters=UnsharedLargeConfig, title="SCN un-shared, large", section="4.3, table 5", **_OF_PAPER),
    Network(parameters=UNetConfig, title="SCN's U-Net style counterpart", section="3.2, table 4", **_OF_PAPER),
    Network(parameters=PSPNetConfig, title="SCN's PSPNet style counterpart", section="3.2, table 4", **_OF_PAPER),
)
