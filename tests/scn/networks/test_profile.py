"""The costs of networks small enough to count by hand, and published ones."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from scn.core.errors import UserError
from scn.networks import profile as module
from scn.networks.build import build
from scn.networks.profile import activation_bytes, count_macs, profile, receptive_field, training_bytes

HEIGHT, WIDTH = 12, 10
TWO_LAYERS: dict[str, Any] = {"name": "vdsr", "layers": 2, "units": 4, "channels": 1, "scale": 1}
"""image + conv(relu(conv(image))), 3x3, 1 -> 4 -> 1 channels."""
SMALL: dict[str, Any] = {"name": "scn", "blocks": 2, "units": 4, "scale": 2}


def test_two_layers_by_hand() -> None:
    image = HEIGHT * WIDTH * 4
    figures = profile(TWO_LAYERS, HEIGHT, WIDTH)
    assert figures.params == figures.params_folded == (9 * 4 + 4) + (4 * 9 + 1)
    assert figures.macs == HEIGHT * WIDTH * 2 * 9 * 4
    assert figures.receptive_field == 5
    assert figures.activation_bytes == image * (1 + 4 + 4)  # the image, the features before and after the ReLU
    assert figures.training_bytes == image * (1 + 4)  # what the convolutions read; the ReLU keeps its output, the same


def test_weight_normalisation_adds_a_gain_per_filter() -> None:
    figures = profile({"name": "scn", "blocks": 1, "units": 4, "width": 4, "scale": 2}, 8, 8)
    block = (4 * 9 * 16 + 16) + (16 * 9 * 4 + 4) + 2 * (4 * 4 + 4)
    assert figures.params_folded == (3 * 9 * 4 + 4) + block + (4 * 9 * 12 + 12) + (3 * 25 * 12 + 12)
    assert figures.params == figures.params_folded + 4 + (16 + 4 + 4 + 4) + 12 + 12


@pytest.mark.parametrize(
    ("architecture", "side"),
    [
        ({"name": "vdsr", "channels": 1}, 41),  # VDSR paper, section 3.1
        ({"name": "dncnn", "channels": 1}, 35),  # DnCNN paper, section III.A
        ({"name": "edsr", "blocks": 2, "scale": 1, "mean": "div2k"}, 1 + 2 * (1 + 2 * 2 + 1 + 1)),
        ({"name": "scn", "blocks": 3, "units": 4, "scales": 1}, 1 + 2 * (1 + 2 * 3 + 1)),
        ({"name": "scn", "blocks": 3, "units": 4, "scales": 1, "scale": 3}, 1 + 2 * (1 + 2 * 3 + 1)),
    ],
)
def test_receptive_field_of_a_chain_of_convolutions(architecture: Mapping[str, Any], side: int) -> None:
    assert receptive_field(architecture) == side


def test_a_pyramid_sees_further_and_at_most_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    one, three = (receptive_field(SMALL | {"scales": scales}) for scales in (1, 3))
    assert one is not None
    assert three is not None
    assert one < three < 64
    monkeypatch.setattr(module, "TALLEST", 64)
    assert receptive_field(SMALL | {"blocks": 12, "scales": 4}) is None


def test_the_receptive_field_takes_little_memory_and_is_that_of_the_whole_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    architectures = [SMALL, {"name": "srresnet", "conv": "octave", "alpha": 0.3, "units": 6, "blocks": 2, "scale": 2}]
    narrow = [receptive_field(architecture) for architecture in architectures]
    assert receptive_field(architectures[0] | {"units": 4096, "width": 64}) == narrow[0]  # 31 GiB of weights
    monkeypatch.setattr(module, "_narrow", lambda architecture: architecture)
    assert [receptive_field(architecture) for architecture in architectures] == narrow


def test_the_gradient_of_the_central_pixel_agrees() -> None:
    architecture = {"name": "scn", "blocks": 2, "units": 4, "width": 1, "scales": 1, "channels": 1, "scale": 1}
    network = build(architecture).requires_grad_(False)
    for parameter in network.parameters():
        parameter.abs_()
    image = torch.ones(1, 1, 33, 33, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(image)[0, 0, 16, 16], image)
    assert receptive_field(architecture) == int((gradient != 0).any(dim=2).sum()) == 13


def test_macs_of_a_network_and_of_its_architecture() -> None:
    network = build(SMALL, seed=0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert count_macs(network, 128, 128) == count_macs(SMALL, 128, 128)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.training
    assert network(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    assert count_macs(SMALL, 1280, 1280) == 100 * count_macs(SMALL, 128, 128)


def test_memory_grows_with_the_image_and_training_with_the_blocks() -> None:
    assert activation_bytes(SMALL, 64, 64) == 2 * activation_bytes(SMALL, 32, 64)
    assert activation_bytes(SMALL | {"blocks": 6}, 64, 64) == activation_bytes(SMALL | {"blocks": 4}, 64, 64)
    assert activation_bytes(SMALL, 64, 64, "cpu") == activation_bytes(SMALL, 64, 64)
    four, six, eight = (training_bytes(SMALL | {"blocks": blocks}, 64, 64) for blocks in (4, 6, 8))
    assert 0 < four < six < eight


def test_bad_architectures_and_images_get_a_sentence() -> None:
    with pytest.raises(UserError, match="'depth' is no known key"):
        profile({**TWO_LAYERS, "depth": 3}, 8, 8)
    with pytest.raises(UserError, match="at least 1x1 pixels, not 8x0"):
        count_macs(TWO_LAYERS, 0, 8)


def test_the_global_random_state_stays() -> None:
    before = torch.random.get_rng_state()
    profile(TWO_LAYERS, 8, 8)
    assert torch.equal(torch.random.get_rng_state(), before)
