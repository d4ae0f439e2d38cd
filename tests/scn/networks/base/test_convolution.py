"""The convolution and its weight gradient, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from scn.networks.base import convolution
from scn.networks.base.convolution import Convolution, weight_gradient


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 8), (8, 3), (4, 4)])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 6)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_weight_gradient_is_autograds(
    kernel: int, inputs: int, outputs: int, size: tuple[int, int], layout: torch.memory_format
) -> None:
    x = torch.randn(3, inputs, *size, dtype=torch.float64).contiguous(memory_format=layout)
    gradient = torch.randn(3, outputs, *size, dtype=torch.float64).contiguous(memory_format=layout)
    shape = (outputs, inputs, kernel, kernel)
    expected = torch.nn.grad.conv2d_weight(x, shape, gradient, padding=kernel // 2)
    torch.testing.assert_close(weight_gradient(x, gradient, kernel), expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("first", [True, False], ids=["of an image", "of features"])
def test_a_training_step_is_nn_conv2ds(monkeypatch: pytest.MonkeyPatch, bias: bool, first: bool) -> None:
    monkeypatch.setattr(convolution, "_gains", lambda input: torch.is_grad_enabled())
    calls = []
    monkeypatch.setattr(convolution, "weight_gradient", lambda *a: calls.append(a) or weight_gradient(*a))
    layer = Convolution(16, 20, 3, bias=bias).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    peer = nn.Conv2d(16, 20, 3, padding=1, bias=bias)
    peer.load_state_dict(layer.state_dict())
    layer, peer = weight_norm(layer), weight_norm(peer)
    results = []
    for module in (layer, peer):
        x = torch.rand(2, 16, 9, 7, generator=torch.Generator().manual_seed(1), requires_grad=not first)
        y = module(x.contiguous(memory_format=torch.channels_last))
        y.relu_().square().sum().backward()
        results.append([y, *(p.grad for p in module.parameters()), *([] if first else [x.grad])])
    assert len(calls) == 1
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_elsewhere_it_is_nn_conv2d(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(convolution, "weight_gradient", fail)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    layer = Convolution(16, 16, 3)
    x = torch.rand(1, 16, 5, 5)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    narrow = Convolution(16, 8, 3)
    narrow(x).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), atol=0, rtol=0)
    with pytest.raises(AssertionError):
        layer(x).sum().backward()
