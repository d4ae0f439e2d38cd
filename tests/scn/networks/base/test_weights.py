"""Weights and matrices that a step needs several times are made once, and nothing else changes."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scn.networks.base import layers
from scn.networks.base.convolution import Convolution
from scn.networks.build import build, fold

SCN = {"name": "scn", "blocks": 3, "units": 8, "width": 2, "scales": 3, "scale": 2}


class Operations(TorchDispatchMode):
    """Counts the operations that are dispatched, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count[str(function).partition(".default")[0]] += 1
        return function(*args, **(kwargs or {}))


def step(network: nn.Module, image: Tensor) -> Tensor:
    network.zero_grad()
    loss = network(image).float().abs().mean()
    loss.backward()
    return loss


def test_a_step_makes_a_weight_once_and_no_matrix_again() -> None:
    network = build(SCN, seed=0).to("meta")  # where resampling is by matrices, as on a GPU
    image = torch.rand(2, 3, 24, 24, device="meta")
    read = {name for name, p in network.named_parameters() if p.requires_grad and name.endswith("original0")}
    step(network, image)
    with Operations() as second:
        step(network, image)
    assert second.count["aten._weight_norm_interface"] == len(read)
    assert second.count["aten.convolution"] > 1.5 * len(read)
    assert second.count["aten.arange"] == second.count["aten.clamp_"] == 0


def test_a_step_of_64x64_dispatches_half_as_many_operations_as_it_did() -> None:
    network = build({"name": "scn", "blocks": 64, "units": 64, "scales": 4, "scale": 2}, seed=0).to("meta")
    with Operations() as first:
        step(network, torch.rand(16, 3, 48, 48, device="meta"))
    assert first.count.total() <= 28_053 / 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_weights_made_in_every_call(
    monkeypatch: pytest.MonkeyPatch, layout: torch.memory_format
) -> None:
    image = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=layout)

    def trained() -> tuple[Tensor, list[Tensor]]:
        network = build(SCN, seed=0).to(memory_format=layout)  # type: ignore[call-overload]
        loss = step(network, image)
        return loss, [p.grad for p in network.parameters() if p.grad is not None]

    loss, gradients = trained()
    monkeypatch.setattr(layers, "made_once", lambda network: nullcontext())
    expected_loss, expected = trained()
    assert loss == expected_loss
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-8)


def test_under_autocast_each_part_of_the_network_reads_the_weight_in_its_type() -> None:
    seen: set[torch.dtype] = set()
    network = build(SCN, seed=0)
    for module in network.modules():
        if isinstance(module, Convolution):
            module.register_forward_hook(lambda layer, _inputs, _output: seen.update(layer.made or {}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(network, torch.rand(1, 3, 16, 16))
    assert seen == {torch.bfloat16, torch.float32}  # the enlarged image's own convolution computes in float32


def test_nothing_is_kept_after_a_pass_even_one_that_fails() -> None:
    network = build(SCN, seed=0)
    image = torch.rand(1, 3, 16, 16)
    first = step(network, image)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    assert step(network, image) != first

    def fail(*_: object) -> None:
        raise RuntimeError("stop")

    layer = next(m for m in network.modules() if isinstance(m, Convolution))
    with pytest.raises(RuntimeError, match="stop"), _hooked(layer, fail):
        network(image)
    assert all(m.made is None for m in network.modules() if isinstance(m, Convolution))
    fold(network)


def _hooked(layer: nn.Module, hook: Callable[..., None]) -> Any:
    return layer.register_forward_hook(hook)


def test_a_compiler_sees_the_network_as_one_graph() -> None:
    explained = torch._dynamo.explain(build(SCN, seed=0))(torch.rand(1, 3, 16, 16))
    assert explained.graph_break_count == 0
