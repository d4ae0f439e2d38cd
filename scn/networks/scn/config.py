"""The parameters of the SCN paper's network, and of those it is compared with in its ablation study."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from scn.networks.base.config import WideConfig

Resampling = Literal["bilinear", "pooling", "strided"]
Ends = Literal["published", "zero", "replicate"]

LARGEST_MULTIPLE = 256
"""Pixels; an image is padded to a multiple of what the coarsest level needs, at most this: 8 scales of ratio 1/2, where
the paper goes to 6."""


def multiple_of(scales: int, ratio: float) -> int:
    """The number of pixels that sides must be multiples of for a level of ratio 1/m to be exactly m times smaller.

    It is m^scales; 1 for another ratio: no multiple does it.
    """
    factor = round(1 / ratio)
    return factor**scales if abs(factor * ratio - 1) < 1e-6 else 1


def check_multiple(scales: int, ratio: float) -> None:
    """Raises ValueError if images would be padded to a multiple of more than LARGEST_MULTIPLE pixels."""
    if multiple_of(scales, ratio) > LARGEST_MULTIPLE:
        most = next(fewer for fewer in reversed(range(scales)) if multiple_of(fewer, ratio) <= LARGEST_MULTIPLE)
        raise ValueError(
            f"scales: {scales} of ratio {ratio} would pad every image to a multiple of more than {LARGEST_MULTIPLE} "
            f"pixels: use at most {most}, or a ratio other than 1/2, 1/3 and so on"
        )


class PyramidConfig(WideConfig):
    """The parameters of scale-wise convolutions on a feature pyramid (SCN paper, section 3)."""

    kernel: int = Field(default=3, ge=3, le=15)
    """Levels that a scale-wise convolution covers, 2k + 1: an odd number."""
    scales: int = Field(default=4, ge=1, le=64)
    """Levels of the feature pyramid."""
    ratio: float = Field(default=0.5, ge=0.01, lt=1)
    """Size of a level relative to the one above it."""
    resampling: Resampling = "bilinear"
    """Resampling between levels, h_i: bilinear; average pooling and nearest neighbour; strided and transposed
    convolution (table 6)."""
    ends: Ends = "published"
    """The features beyond the ends of the pyramid: the level's own features as in the authors' code, nothing, or the
    level at the end."""
    factorised: bool = True
    """Whether f_i = h_i . q_i . p; otherwise it is h_i . g_i, with a 3x3 convolution g_i for every i."""

    @model_validator(mode="after")
    def _possible(self) -> "PyramidConfig":
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


class ScnConfig(PyramidConfig):
    """Scale-wise Convolutional Network (SCN paper, section 3)."""

    name: Literal["scn"] = "scn"
    shared: bool = True
    """The same weights at every level; otherwise each has its own (table 5)."""


class BaselineConfig(WideConfig):
    """Single-scale baseline (table 5): the network without its pyramid, as deep and wide."""

    name: Literal["scn-baseline"] = "scn-baseline"
    blocks: int = Field(default=16, ge=1, le=1000)


class UnsharedBase(PyramidConfig):
    """The parameters of SCN with weights of its own for every level (table 5)."""

    shared: ClassVar[bool] = False
    blocks: int = Field(default=16, ge=1, le=1000)


class UnsharedConfig(UnsharedBase):
    """Un-shared (table 5): weights for every level, fewer units so that there are 1.2 M of them."""

    name: Literal["scn-unshared"] = "scn-unshared"
    units: int = Field(default=16, ge=1, le=4096)


class UnsharedLargeConfig(UnsharedBase):
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
