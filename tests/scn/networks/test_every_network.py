"""Properties that every network of the table has, tested with small ones, which fingerprints.py lists."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fingerprints import ARCHITECTURES, FILE, SEED, SMALL, fingerprint, image, label
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from scn.core.errors import UserError
from scn.inference.model_config import BEGINNING
from scn.inference.model_files import load_model, save_model
from scn.networks import NETWORKS
from scn.networks.build import build, build_on_meta
from scn.networks.profile import count_macs

every = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=label)
one_of_each = pytest.mark.parametrize(
    "architecture", [{"name": name, **of[0]} for name, of in SMALL.items()], ids=label
)

Architecture = dict[str, Any]


def output(network: nn.Module, batch: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(batch)


def test_every_network_is_tested() -> None:
    assert NETWORKS.keys() == SMALL.keys()
    assert all(SMALL.values())
    assert len({label(architecture) for architecture in ARCHITECTURES}) == len(ARCHITECTURES)


@every
def test_forward_and_backward_at_odd_and_smallest_sizes(architecture: Architecture) -> None:
    network = build(architecture, seed=SEED)
    for height, width in ((19, 13), (network.smallest, network.smallest)):
        network.zero_grad()
        batch = image(architecture, height, width, batch=2)
        result = network(batch)
        assert result.shape == (2, network.channels, height * network.scale, width * network.scale)
        assert result.dtype == torch.float32
        result.square().mean().backward()
        for name, parameter in network.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, (name, height, width)
            assert parameter.grad is None or parameter.grad.isfinite().all(), (name, height, width)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert len(trained) > len(list(network.parameters())) / 2


@every
def test_multiply_adds_are_those_that_pytorch_counts(architecture: Architecture) -> None:
    network = build_on_meta(architecture)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, network.channels, 52, 39, device="meta"))
    counted = counter.get_flop_counts()["Global"]
    assert 2 * count_macs(network, 52, 39) == sum(n for kind, n in counted.items() if "convolution" in str(kind))


class OnTheDevice(TorchDispatchMode):
    """Notes the operations that read or make a tensor of the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(isinstance(each, Tensor) and each.device.type == "cpu" for each in tree_leaves((args, kwargs, result))):
            self.elsewhere.append(str(function))
        return result


@every
def test_a_step_on_a_device_takes_nothing_from_the_cpu(architecture: Architecture) -> None:
    """A copy from there can't be recorded, and the recording of a step would fail; meta stands for a GPU."""
    network = build(architecture, seed=SEED).to("meta")
    batch = image(architecture, batch=2).to("meta")
    with OnTheDevice() as operations:
        network(batch).square().mean().backward()
    assert operations.elsewhere == []


@one_of_each
def test_every_scale_and_channel_count_reaches_every_weight(architecture: Architecture) -> None:
    for scale, channels in ((1, 1), (2, 3), (3, 1), (4, 3)):
        network = build({**architecture, "scale": scale, "channels": channels}, seed=SEED)
        result = network(image({"channels": channels}, batch=2))
        assert result.shape == (2, channels, 19 * scale, 13 * scale)
        (result * image({"channels": channels}, 19 * scale, 13 * scale)).sum().backward()
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None
                assert parameter.grad.abs().max() > 0, (name, scale)


@every
def test_a_saved_network_is_the_same_function(architecture: Architecture, tmp_path: Path) -> None:
    network = build(architecture, seed=SEED)
    batch = image(architecture)
    output(network, image(architecture, batch=2))  # running statistics of batch normalisation move
    expected = output(network.eval(), batch)
    save_model(tmp_path, network, architecture, {"about": label(architecture)})
    loaded, config = load_model(tmp_path)
    torch.testing.assert_close(output(loaded, batch), expected, atol=1e-6, rtol=1e-6)
    written = {key: value for key, value in architecture.items() if key not in BEGINNING}
    assert config == {"about": label(architecture), "architecture": written}
    assert not loaded.training


@every
def test_compiled_it_is_the_same_function(architecture: Architecture) -> None:
    torch.compiler.reset()
    network = build(architecture, seed=SEED).eval()
    batch = image(architecture)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(batch), network(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")  # PyTorch's own, in what inductor imports
@pytest.mark.parametrize("name", ["scn", "srresnet"])
def test_compiled_by_inductor_it_is_the_same_function(name: str) -> None:
    torch.compiler.reset()
    architecture = {"name": name, **SMALL[name][0], "blocks": 1}
    network = build(architecture, seed=SEED).eval()
    batch = image(architecture)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(network)(batch), network(batch), atol=1e-5, rtol=1e-5)


@every
def test_neither_memory_layout_nor_batch_matters(architecture: Architecture) -> None:
    network = build(architecture, seed=SEED).eval()
    batch = image(architecture, batch=4)
    expected = output(network, batch)
    parts = torch.cat([output(network, part) for part in batch.split(2)])
    torch.testing.assert_close(parts, expected, atol=1e-5, rtol=1e-6)
    network.to(memory_format=torch.channels_last)
    last = output(network, batch.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=1e-6)


@every
def test_initial_weights_are_a_function_of_the_seed(architecture: Architecture) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build(architecture, seed=seed).state_dict() for seed in (SEED, SEED, SEED + 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.keys() == again.keys() == other.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every
def test_the_output_is_the_one_it_always_was(architecture: Architecture) -> None:
    """After an intended change, run `python tests/scn/networks/fingerprints.py`."""
    expected = json.loads(FILE.read_text())
    assert fingerprint(architecture) == pytest.approx(expected[label(architecture)], abs=3e-6)


def test_no_fingerprint_is_left_over() -> None:
    assert json.loads(FILE.read_text()).keys() == {label(architecture) for architecture in ARCHITECTURES}


@one_of_each
def test_wrong_images_get_a_sentence(architecture: Architecture) -> None:
    network = build(architecture)
    channels, side = network.channels, max(network.smallest, 8)
    for shape in ((1, 4 - channels, side, side), (channels, side, side), (1, 1, channels, side, side)):
        with pytest.raises(UserError, match=rf"shape \(N, {channels}, H, W\), not \({shape[0]}"):
            network(torch.zeros(shape))
    with pytest.raises(UserError, match=rf"one image or more, not \(0, {channels}, {side}, {side}\)"):
        network(torch.zeros(0, channels, side, side))
    for dtype in (torch.uint8, torch.float64, torch.bfloat16):
        with pytest.raises(UserError, match=f"takes images of torch.float32 with values in .0, 1., not {dtype}"):
            network(torch.zeros(1, channels, side, side, dtype=dtype))
    too_small = [(0, side), (side, 0), (0, 0), (network.smallest - 1, side), (side, network.smallest - 1)]
    for height, width in too_small:
        with pytest.raises(
            UserError, match=rf"at least {network.smallest}x{network.smallest} pixels, not {width}x{height}"
        ):
            network(torch.zeros(1, channels, height, width))
