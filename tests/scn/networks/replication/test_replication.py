"""The replication's networks compute the equations of its report."""

import pytest
import torch
import torch.nn.functional as F

from scn.networks.build import build
from scn.networks.replication.network import AdaptiveScaleWiseLayer, InstanceNorm, ScaleWiseBlock, ScaleWiseLayer


def resize(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


def test_original_convolution_is_its_equation() -> None:
    layer, x = ScaleWiseLayer(4, 3), torch.rand(2, 4, 9, 6)
    state = layer.state_dict()
    expected = torch.zeros(())
    for s, size in enumerate(((9, 6), (5, 3), (3, 2))):
        y = F.conv2d(resize(x, *size), state[f"convs.{s}.weight"], state[f"convs.{s}.bias"], padding=1)
        expected = expected + resize(y, 9, 6)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=0)


def test_adaptive_convolution_is_its_equation() -> None:
    layer, x = AdaptiveScaleWiseLayer(4, 2), torch.rand(2, 4, 7, 5)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.rand_like(parameter))  # gains and biases of their own
    state, maps = layer.state_dict(), []
    for s, size in enumerate(((7, 5), (4, 3))):
        y = F.conv2d(resize(x, *size), state[f"convs.{s}.0.weight"], padding=1)
        y = (y - y.mean((2, 3), keepdim=True)) / (y.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        y = y * state[f"convs.{s}.1.weight"][:, None, None] + state[f"convs.{s}.1.bias"][:, None, None]
        maps.append(resize(y, 7, 5))
    scores = [F.conv2d(y, state[f"scores.{s}.weight"], state[f"scores.{s}.bias"]) for s, y in enumerate(maps)]
    a, b = scores[0].exp(), scores[1].exp()
    torch.testing.assert_close(layer(x), (a * maps[0] + b * maps[1]) / (a + b), atol=1e-4, rtol=0)


def test_attention_weights_sum_to_one_over_the_scales() -> None:
    layer = AdaptiveScaleWiseLayer(4, 3)
    weights = layer.attention([torch.randn(2, 4, 6, 5) for _ in range(3)])
    assert weights.shape == (2, 3, 6, 5)
    assert weights.min() > 0
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 6, 5))


def test_scales_that_say_the_same_are_taken_at_their_word(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, feature = AdaptiveScaleWiseLayer(4, 3), torch.randn(2, 4, 6, 5)
    monkeypatch.setattr(layer, "maps", lambda x: [feature] * 3)
    torch.testing.assert_close(layer(feature), feature)


@pytest.mark.parametrize("kind", [ScaleWiseLayer, AdaptiveScaleWiseLayer])
def test_block_adds_its_input(kind: type[ScaleWiseLayer]) -> None:
    block, x = ScaleWiseBlock(kind, 4, 2), torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(block(x), x + block.second(F.relu(block.first(x))))


@pytest.mark.parametrize("name", ["scalewise-original", "scalewise-adaptive"])
def test_network_is_its_equation(name: str) -> None:
    network = build({"name": name, "blocks": 2, "units": 4, "scales": 2, "scale": 2}, seed=0)
    head, blocks, tail = (network.get_submodule(part) for part in ("head", "blocks", "tail"))
    image = torch.rand(1, 3, 7, 6)
    torch.testing.assert_close(network(image), F.pixel_shuffle(tail(blocks(head(image))), 2))


def test_instance_norm_takes_a_single_pixel_for_a_constant_map() -> None:
    norm = InstanceNorm(3)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.rand(2, 3, 1, 1, requires_grad=True)
    assert torch.equal(norm(x), norm(x.expand(-1, -1, 4, 4))[..., :1, :1])
    torch.testing.assert_close(norm(x)[0].flatten(), norm.bias, atol=1e-4, rtol=1e-4)
    norm(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().max() == 0


@pytest.mark.parametrize(("name", "parameters"), [("scalewise-original", 596_236), ("scalewise-adaptive", 600_396)])
def test_parameters_of_the_defaults(name: str, parameters: int) -> None:
    """The adaptive network has more, as the report says."""
    assert sum(p.numel() for p in build({"name": name, "scale": 2}).parameters()) == parameters
