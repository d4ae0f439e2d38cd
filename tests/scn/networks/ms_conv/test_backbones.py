"""SRResNet and CARN with every convolution: the paper's figures, every size, every parameter in use."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.core.errors import UserError
from scn.inference.model_files import load_model, save_model
from scn.networks import network_config
from scn.networks.build import build
from scn.networks.ms_conv.transformations import TRANSFORMATIONS
from scn.networks.profile import count_macs

# Printed: MS-Conv paper, tables 2 to 4, parameters in M and multiply-adds in G; those without multiply-adds stand in
# the text of section 4.2 (which doesn't say how many blocks).
FIGURES: list[tuple[str, dict[str, Any], int, str, int, str]] = [
    ("srresnet", {"conv": "standard"}, 1_591_427, "1.59", 42_759_880_704, "42.76"),
    ("srresnet", {"conv": "ms"}, 817_347, "0.82", 16_702_636_032, "16.70"),
    ("srresnet", {"conv": "ms2-no-lh"}, 1_205_763, "1.21", 18_741_067_776, "18.74"),
    ("srresnet", {"conv": "ms2-no-hl"}, 1_205_763, "1.21", 18_741_067_776, "18.74"),
    ("srresnet", {"conv": "ms2"}, 1_594_179, "1.59", 20_779_499_520, "20.78"),
    ("srresnet", {"conv": "ms3", "branches": 1, "blocks": 2}, 557_443, "0.56", 25_848_446_976, "25.85"),
    ("srresnet", {"conv": "ms3", "branches": 2}, 517_635, "0.51", 17_155_620_864, "17.16"),  # table 3
    ("srresnet", {"conv": "ms3"}, 517_635, "0.52", 17_155_620_864, "17.16"),  # table 4
    ("srresnet", {"conv": "ms3", "branches": 3}, 714_435, "0.71", 18_194_595_840, "18.19"),
    ("srresnet", {"conv": "ms3", "branches": 4}, 999_939, "1.00", 18_482_651_136, "18.48"),
    ("srresnet", {"conv": "ms3", "blocks": 46}, 1_199_235, "1.19", 28_983_558_144, "28.98"),
    ("srresnet", {"conv": "ms3", "blocks": 44}, 1_153_795, "1.15", 28_195_028_992, ""),
    ("srresnet", {"conv": "ms3-l", "blocks": 28}, 1_871_619, "1.87", 27_121_287_168, ""),
    ("srresnet", {"conv": "ms2", "blocks": 26}, 2_334_019, "2.33", 26_064_322_560, ""),
    ("carn", {"conv": "standard"}, 1_148_803, "1.15", 35_512_123_392, "35.51"),
    ("carn", {"conv": "ms3"}, 447_619, "0.45", 15_058_468_864, "15.06"),
    ("carn", {"conv": "ms3", "blocks": 8}, 1_036_099, "1.03", 23_321_247_744, "23.32"),
]
SMALL: dict[str, Any] = {"blocks": 1, "units": 8, "scale": 2}
BACKBONES = ["srresnet", "carn"]


@pytest.mark.parametrize(("name", "parameters", "size", "size_printed", "macs", "macs_printed"), FIGURES)
def test_figures_are_the_printed_ones(
    name: str, parameters: dict[str, Any], size: int, size_printed: str, macs: int, macs_printed: str
) -> None:
    architecture = {"name": name, **parameters, "scale": 4}
    with torch.device("meta"):
        network = build(architecture)
    assert sum(p.numel() for p in network.parameters()) == size
    # The paper sometimes cuts the digits off: one and the same network has 0.51 in table 3 and 0.52 in table 4.
    assert size_printed in (f"{size / 1e6:.2f}", f"{math.floor(size / 1e4) / 100:.2f}")
    assert count_macs(architecture, 128, 128) == macs
    assert macs_printed in ("", f"{macs / 1e9:.2f}")


def assert_trains(architecture: dict[str, Any], channels: int, height: int, width: int) -> None:
    network = build({**architecture, "channels": channels}, seed=1)
    output = network(torch.rand(2, channels, height, width))
    scale = architecture["scale"]
    assert output.shape == (2, channels, scale * height, scale * width)
    assert output.isfinite().all()
    output.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 1)])
@pytest.mark.parametrize("conv", TRANSFORMATIONS)
@pytest.mark.parametrize("name", BACKBONES)
def test_every_convolution_forward_and_backward(name: str, conv: str, height: int, width: int) -> None:
    assert_trains({**SMALL, "name": name, "conv": conv}, 3, height, width)


@pytest.mark.parametrize("scale", [1, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_scale_and_channel_count(name: str, scale: int, channels: int) -> None:
    assert_trains({**SMALL, "name": name, "conv": "ms3", "branches": 4, "scale": scale}, channels, 9, 6)


@pytest.mark.parametrize(
    ("conv", "branches"), [(c, b) for c, row in TRANSFORMATIONS.items() for b in (row.fewest, row.most)]
)
def test_every_number_of_branches(conv: str, branches: int) -> None:
    assert_trains({**SMALL, "name": "srresnet", "conv": conv, "branches": branches}, 3, 3, 5)


@pytest.mark.parametrize("name", BACKBONES)
def test_one_branch_is_the_standard_network(name: str) -> None:
    image = torch.rand(1, 3, 6, 5)
    standard = build({**SMALL, "name": name}, seed=3)
    one = build({**SMALL, "name": name, "conv": "ms3", "branches": 1}, seed=3)
    with torch.inference_mode():
        assert torch.equal(one(image), standard(image))


def test_a_branch_that_is_handed_on_passes_by_the_blocks() -> None:
    """U-Net's high-resolution branch is neither doubled by the residual sums nor rectified."""
    network = build({**SMALL, "name": "srresnet", "conv": "unet", "blocks": 3}, seed=0)
    features = [torch.randn(1, 4, 6, 6), torch.randn(1, 4, 3, 3)]
    high, low = network.body(features)
    assert torch.equal(high, features[0].relu())
    assert not torch.equal(low, features[1].relu())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_saved_model_is_the_same_function_and_shares_weights_once(name: str, tmp_path: Path) -> None:
    architecture = {**SMALL, "name": name, "conv": "ms3"}
    network, image = build(architecture, seed=0), torch.rand(1, 3, 7, 6)
    assert len(network.state_dict()) == len(list(network.parameters()))
    with torch.inference_mode():
        expected = network(image)
        save_model(tmp_path, network, architecture, {})
        assert torch.equal(load_model(tmp_path)[0](image), expected)


def test_defaults_are_those_of_the_convolution() -> None:
    branches = {conv: network_config({"name": "carn", "conv": conv}, "-").branches for conv in TRANSFORMATIONS}
    assert branches == {conv: row.usual for conv, row in TRANSFORMATIONS.items()}
    assert (branches["standard"], branches["ms3"], branches["multigrid"]) == (1, 2, 3)
    config = network_config({"name": "srresnet"}, "-")
    assert network_config(config.model_dump(), "-") == config


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"branches": 2}, "branches: 'standard' has 1 branch, not 2"),
        ({"conv": "octave", "branches": 3}, "branches: 'octave' has 2 branches, not 3"),
        ({"conv": "multigrid", "branches": 1}, "branches: 'multigrid' has 2 to 4 branches, not 1"),
        ({"conv": "ms", "branches": 5}, "branches: input should be less than or equal to 4"),
        ({"conv": "ms2", "units": 9}, "units: 9 channels can't be halved for the branches: use an even number"),
        ({"conv": "dilated", "units": 9}, "units: 9 channels can't be halved"),
        ({"conv": "octave", "alpha": 0.005}, "alpha: 0.005 of 64 channels leaves one of the two branches without any"),
        ({"conv": "octave", "units": 1}, "alpha: 0.5 of 1 channels leaves one"),
        ({"conv": "ms2", "alpha": 0.25}, "alpha: 'ms2' always halves the channels: leave alpha out"),
        ({"conv": "ms4"}, "conv: input should be 'standard', 'ms'"),
        ({"conv": ["ms"]}, "conv: input should be 'standard', 'ms'"),
    ],
)
def test_impossible_combinations_get_a_sentence(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^The network: {sentence}"):
        build({"name": "srresnet", **parameters})


def test_what_differs_from_counts_known_elsewhere() -> None:
    """docs/networks/ms-conv.md explains it: CARN with three upsamplers, no `merge`; SRResNet without two layers."""

    def parameters(name: str, scale: int) -> int:
        return sum(p.numel() for p in build({"name": name, "scale": scale}).parameters())

    assert parameters("carn", 4) == 1_148_803
    upsamplers = {scale: parameters("carn", scale) - parameters("carn", 1) for scale in (2, 3, 4)}
    assert sum(upsamplers.values()) == 775_488
    merge = 64 * 64 * 9 + 64
    assert parameters("carn", 1) - merge + sum(upsamplers.values()) == 1_591_939  # 1,592 K
    assert parameters("srresnet", 4) - 2 * merge == 1_517_571  # 1,518 K
