"""The parameters of SCN, and of the networks that it is compared with in the SCN paper's ablation study."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from scn.core.errors import UserError
from scn.core.schema import check
from scn.networks.base.config import WideConfig

Resampling = Literal["bilinear", "pooling", "strided"]
"""Kind of resampling between the scales of a pyramid (PyramidConfig.resampling)."""
Ends = Literal["published", "zero", "replicate"]
"""Kind of features beyond the ends of a pyramid (PyramidConfig.ends)."""

LARGEST_MULTIPLE = 256
"""Most pixels that an image's sides may have to be multiples of, so that all scales divide them: enough for 8 scales of
ratio 1/2, where the paper goes to 6."""


def multiple_of(scales: int, ratio: float) -> int:
    """The number of pixels that sides must be multiples of, so that every scale of a pyramid divides the finest.

    For a ratio 1/m it is m^scales; for any other ratio it is 1, as no multiple would do.
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
    """The parameters of scale-wise convolutions over a feature pyramid (SCN paper, section 3)."""

    kernel: int = Field(default=3, ge=3, le=15)
    """Number of scales that a scale-wise convolution covers, 2k + 1: odd, and at most 2 * scales - 1 (at one scale 3),
    unless `ends` is replicate."""
    scales: int = Field(default=4, ge=1, le=64)
    """Number of scales of the feature pyramid; those beyond 1 + k * blocks reach no output, and only pad the image."""
    ratio: float = Field(default=0.5, ge=0.01, lt=1)
    """Height and width of a scale relative to the next finer one."""
    resampling: Resampling = "bilinear"
    """Resampling between scales, h_i (table 6): bilinear, pooling (average pooling, nearest neighbour) or strided
    (strided and transposed convolution)."""
    ends: Ends = "published"
    """Features beyond the ends of the pyramid: published (the scale's own, as in the authors' code), zero (none) or
    replicate (those of the scale at the end)."""
    factorised: bool = True
    """Factorise f_i as h_i . q_i . p, with one 3x3 convolution p for all i; false: h_i . g_i, a 3x3 g_i for each i."""
    initial: Literal["default", "authors"] = "default"
    """Initial weights: default (PyTorch's) or authors (those of SCN's authors, with which 64
    blocks begin less far off)."""

    @model_validator(mode="after")
    def _possible(self) -> "PyramidConfig":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: {self.kernel} is even: take an odd number, as a scale stands in the middle")
        if self.resampling != "bilinear" and abs(round(1 / self.ratio) * self.ratio - 1) > 1e-6:
            raise ValueError(f"ratio: {self.resampling} has only 1/2, 1/3, ..., not {self.ratio}; bilinear has any")
        check_multiple(self.scales, self.ratio)
        if self.resampling == "strided" and self.ends == "replicate":
            raise ValueError("ends: strided convolutions can't replicate, as a kernel is for one distance: use zero")
        return self

    def check_new(self) -> None:
        if self.ends != "replicate" and self.kernel > (most := max(3, 2 * self.scales - 1)):
            raise ValueError(
                f"kernel: {self.kernel} covers more than a pyramid of {self.scales} scales has to either side of a "
                f"scale: use at most {most}, or more scales"
            )


class ScnConfig(PyramidConfig):
    """Scale-wise Convolutional Network (SCN paper, section 3)."""

    name: Literal["scn"] = "scn"
    shared: bool = True
    """Use the same weights at every scale; false: each scale has its own (table 5)."""


def check_pyramid(scales: int, ratio: float, *, most: int | None, resampling: Resampling, before: float) -> None:
    """Checks that a network with its weights can be given another pyramid (SCN paper, figures 7 and 8).

    Args:
        scales, ratio: of the pyramid.
        most: number of scales that the network has weights for; None: the same weights work at all.
        resampling: between the network's scales.
        before: the ratio that the network has.
    Raises:
        UserError: if it can't.
    """
    check(ScnConfig, {"scales": scales, "ratio": ratio}, "The pyramid")
    if most and scales > most:
        raise UserError(f"The network has weights for {most} scales, not {scales}: use fewer.")
    if resampling != "bilinear" and ratio != before:
        raise UserError(
            f"The network resamples by {resampling} at ratio {before}, not {ratio}: only bilinear resampling has any "
            "ratio."
        )


class BaselineConfig(WideConfig):
    """Single-scale baseline (table 5): a network as deep and wide as SCN, without the pyramid."""

    name: Literal["scn-baseline"] = "scn-baseline"
    blocks: int = Field(default=16, ge=1, le=1000)


class UnsharedBase(PyramidConfig):
    """The parameters of SCN with weights of its own for every scale (table 5)."""

    shared: ClassVar[bool] = False
    blocks: int = Field(default=16, ge=1, le=1000)


class UnsharedConfig(UnsharedBase):
    """Un-shared (table 5): SCN with weights for every scale, and fewer units, so that it has 1.2 M parameters."""

    name: Literal["scn-unshared"] = "scn-unshared"
    units: int = Field(default=16, ge=1, le=4096)


class UnsharedLargeConfig(UnsharedBase):
    """Un-shared Large (table 5): SCN with weights for every scale, 2.1 M parameters."""

    name: Literal["scn-unshared-large"] = "scn-unshared-large"
    units: int = Field(default=21, ge=1, le=4096)


class UNetConfig(WideConfig):
    """U-Net style (figure 3, table 4): 2 scales in encoder and decoder, 2 blocks in each, 8 in all."""

    name: Literal["scn-unet"] = "scn-unet"
    scales: int = Field(default=2, ge=1, le=8)
    """Number of scales of encoder and decoder; `blocks` must be a multiple of twice this number."""

    @model_validator(mode="after")
    def _even(self) -> "UNetConfig":
        if self.blocks % (2 * self.scales):
            raise ValueError(
                f"blocks: {self.blocks} can't be split evenly among {self.scales} scales of encoder and decoder: use a "
                f"multiple of {2 * self.scales}"
            )
        return self


class PSPNetConfig(WideConfig):
    """PSPNet style (figure 3, table 4): 2 scales of 8 blocks; fewer units, so that all have as many parameters."""

    name: Literal["scn-pspnet"] = "scn-pspnet"
    units: int = Field(default=23, ge=1, le=4096)
    scales: int = Field(default=2, ge=1, le=8)
    """Number of scales, each with `blocks` residual blocks of its own."""
