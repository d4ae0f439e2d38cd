"""How other projects name and shape the weights of networks that are here, too: facts about their files, none of their
code. Each layout takes a state dict apart to an architecture and a state dict of this project's.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scn.networks.edsr.network import DIV2K_MEAN
from scn.registry.checkpoint_files import Refusal

Imported = tuple[dict[str, Any], dict[str, Tensor]]
"""The architecture, as scn.networks.build.build takes it, and its state dict."""
EPSILON = 1e-4
"""What KAIR's batch normalisation adds to the variance."""
LARGE = 256
"""Units from which EDSR's residuals are scaled by 0.1, in the paper and in all weights that are published; the files
don't say."""


class Weights:
    """A state dict of which every tensor has to be taken.

    Args:
        state: key -> float32 tensor.
        refusal: makes the error for a tensor that is missing, of another kind, or left over.
    """

    def __init__(self, state: Mapping[str, Tensor], refusal: Refusal) -> None:
        self.left, self.refusal = dict(state), refusal

    def take(self, key: str) -> Tensor:
        """Takes a tensor out."""
        if key not in self.left:
            raise self.refusal(f"'{key}' is missing")
        return self.left.pop(key)

    def conv(self, layer: str) -> tuple[Tensor, Tensor]:
        """Takes weight (U, C, K, K) and bias (U) of a convolution out."""
        weight, bias = self.take(f"{layer}.weight"), self.take(f"{layer}.bias")
        if weight.ndim != 4 or not weight.numel() or bias.shape != weight.shape[:1]:
            raise self.refusal(f"'{layer}' of shapes {tuple(weight.shape)}, {tuple(bias.shape)} is no convolution")
        return weight, bias

    def count(self, pattern: str) -> int:
        """How many keys match a regular expression as a whole."""
        return sum(bool(re.fullmatch(pattern, key)) for key in self.left)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a project writes a network."""

    name: str
    title: str
    marks: tuple[str, ...]
    """Keys by which the layout is recognised."""
    convert: Callable[[Weights, int | None], Imported]
    """Takes all weights; the upscaling factor is given where the file does not say it."""
    asks_scale: bool = False
    """True: the upscaling factor must be told."""


def chain(layers: list[tuple[Tensor, Tensor]], refusal: Refusal) -> Imported:
    """DnCNN without batch normalisation, of its convolutions with weight (U, C, 3, 3) and bias."""
    channels, units = layers[0][0].shape[1], layers[0][0].shape[0]
    if len(layers) == 7:
        raise refusal("7 convolutions are IRCNN, whose dilation no file says")
    if layers[-1][0].shape[0] != channels:
        raise refusal(f"it makes {layers[-1][0].shape[0]} channels of {channels}, as FFDNet and FDnCNN, not DnCNN")
    architecture = {"name": "dncnn", "layers": len(layers), "units": units, "batch_norm": False}
    state: dict[str, Tensor] = {}
    for number, layer in enumerate(layers):
        state |= _named(f"layers.{2 * number}", layer)
    return {**architecture, "channels": channels, "scale": 1}, state


def normalised(layer: tuple[Tensor, Tensor], gain: Tensor, shift: Tensor, mean: Tensor, deviation: Tensor) -> Any:
    """The convolution that a convolution and the batch normalisation behind it are: (weight, bias)."""
    factor = gain / deviation
    return layer[0] * factor[:, None, None, None], (layer[1] - mean) * factor + shift


def _dncnn(weights: Weights, scale: int | None) -> Imported:
    layers, place = [], 0
    while weights.count(rf"model\.{place}\.weight"):
        layer, behind = weights.conv(f"model.{place}"), f"model.{place + 1}"
        if weights.count(rf"model\.{place + 1}\.running_var"):
            names = ("weight", "bias", "running_mean", "running_var")
            gain, shift, mean, variance = (weights.take(f"{behind}.{name}") for name in names)
            layer, place = normalised(layer, gain, shift, mean, (variance + EPSILON).sqrt()), place + 1
        layers.append(layer)
        place += 2
    return chain(layers, weights.refusal)


def _edsr(weights: Weights, scale: int | None) -> Imported:
    value_range = 255.0  # of the pixels that the authors' network takes
    if weights.count(r"(sub|add)_mean\..*"):
        shift = weights.take("sub_mean.bias")
        value_range = 255.0 if bool((shift.abs() > 1).any()) else 1.0
        for key, expected in (
            ("sub_mean.weight", torch.eye(3)[:, :, None, None]),
            ("add_mean.weight", torch.eye(3)[:, :, None, None]),
            ("add_mean.bias", torch.tensor(DIV2K_MEAN) * value_range),
        ):
            if not _close(weights.take(key), expected):
                raise weights.refusal(f"'{key}' is not DIV2K's mean")
        if not _close(shift, -torch.tensor(DIV2K_MEAN) * value_range):
            raise weights.refusal("'sub_mean.bias' is not DIV2K's mean")
    blocks, ups = weights.count(r"body\.\d+\.body\.0\.weight"), weights.count(r"tail\.0\.\d+\.weight")
    return _edsr_of(
        weights,
        head="head.0",
        blocks=[(f"body.{i}.body.0", f"body.{i}.body.2") for i in range(blocks)],
        after=f"body.{blocks}",
        ups=[f"tail.0.{2 * i}" for i in range(ups)],
        tail="tail.1",
        value_range=value_range,
    )


def _basicsr_edsr(weights: Weights, scale: int | None) -> Imported:
    blocks, ups = weights.count(r"body\.\d+\.conv1\.weight"), weights.count(r"upsample\.\d+\.weight")
    return _edsr_of(
        weights,
        head="conv_first",
        blocks=[(f"body.{i}.conv1", f"body.{i}.conv2") for i in range(blocks)],
        after="conv_after_body",
        ups=[f"upsample.{2 * i}" for i in range(ups)],
        tail="conv_last",
        value_range=255.0,
    )


def _edsr_of(
    weights: Weights,
    *,
    head: str,
    blocks: list[tuple[str, str]],
    after: str,
    ups: list[str],
    tail: str,
    value_range: float,
) -> Imported:
    """EDSR, whose first and last convolution are scaled, as its pixels go to `value_range` and ours to 1."""
    weight, bias = weights.conv(head)
    state, units, channels = _named("head", (weight * value_range, bias)), weight.shape[0], weight.shape[1]
    for number, (first, second) in enumerate(blocks):
        state |= _named(f"body.{number}.expand", weights.conv(first))
        state |= _named(f"body.{number}.project", weights.conv(second))
    state |= _named(f"body.{len(blocks)}", weights.conv(after))
    scale = 1
    for number, up in enumerate(ups):
        layer = weights.conv(up)
        scale *= math.isqrt(layer[0].shape[0] // units)
        state |= _named(f"up.{2 * number}", layer)
    weight, bias = weights.conv(tail)
    state |= _named("tail", (weight / value_range, bias / value_range))
    architecture = {"name": "edsr", "blocks": len(blocks), "units": units, "mean": "div2k"}
    architecture["residual_scaling"] = 0.1 if units >= LARGE else 1.0
    return {**architecture, "channels": channels, "scale": scale}, state


def _msrresnet(weights: Weights, scale: int | None) -> Imported:
    older = weights.count(r"recon_trunk\..*") > 0  # KAIR's names, and those of ESRGAN's first code
    body, high = ("recon_trunk", "HRconv") if older else ("body", "conv_hr")
    layers = {"first": "conv_first", "high": high, "last": "conv_last"}
    blocks = weights.count(rf"{body}\.\d+\.conv1\.weight")
    for number in range(blocks):
        layers |= {f"body.{number}.{ours}": f"{body}.{number}.{theirs}" for ours, theirs in _IN_BLOCK.items()}
    ups = weights.count(r"upconv\d\.weight")
    layers |= {f"up.{number}": f"upconv{number + 1}" for number in range(ups)}
    state: dict[str, Tensor] = {}
    for ours, theirs in layers.items():
        state |= _named(ours, weights.conv(theirs))
    units, channels = state["first.weight"].shape[:2]
    factors = (math.isqrt(state[f"up.{number}.weight"].shape[0] // units) for number in range(ups))
    architecture = {"name": "msrresnet", "blocks": blocks, "units": units}
    return {**architecture, "channels": channels, "scale": math.prod(factors)}, state


def _srcnn(weights: Weights, scale: int | None) -> Imported:
    state: dict[str, Tensor] = {}
    for number in range(3):
        state |= _named(f"layers.{2 * number}", weights.conv(f"conv{number + 1}"))
    units, channels = state["layers.0.weight"].shape[:2]
    luma = channels == 1  # as in the paper; super-resolution has RGB images here
    architecture = {"name": "srcnn", "units": units, "kernel": state["layers.2.weight"].shape[-1], "luma": luma}
    return {**architecture, "channels": 3 if luma else channels, "scale": scale}, state


def _named(layer: str, tensors: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return dict(zip((f"{layer}.weight", f"{layer}.bias"), tensors, strict=True))


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


_IN_BLOCK = {"expand": "conv1", "project": "conv2"}

LAYOUTS = (
    Layout(name="edsr", title="EDSR's authors", marks=("head.0.weight", "tail.1.weight"), convert=_edsr),
    Layout(
        name="basicsr-edsr",
        title="BasicSR's EDSR",
        marks=("conv_first.weight", "conv_after_body.weight", "upsample.0.weight"),
        convert=_basicsr_edsr,
    ),
    Layout(
        name="basicsr-srresnet",
        title="BasicSR's MSRResNet",
        marks=("conv_first.weight", "upconv1.weight", "conv_hr.weight"),
        convert=_msrresnet,
    ),
    Layout(
        name="kair-srresnet",
        title="KAIR's MSRResNet",
        marks=("conv_first.weight", "upconv1.weight", "HRconv.weight"),
        convert=_msrresnet,
    ),
    Layout(name="kair-dncnn", title="KAIR's DnCNN", marks=("model.0.weight", "model.2.weight"), convert=_dncnn),
    Layout(
        name="srcnn",
        title="SRCNN",
        marks=("conv1.weight", "conv2.weight", "conv3.weight"),
        convert=_srcnn,
        asks_scale=True,
    ),
)
"""Every layout of a state dict but that of SCN's authors."""
