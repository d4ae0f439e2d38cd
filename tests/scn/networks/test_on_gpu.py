"""On a GPU every network gives what it gives on a CPU, and trains the same way twice."""

from typing import Any

import pytest
import torch
from fingerprints import ARCHITECTURES, label

from scn.networks.build import build, fold

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=label)
def test_the_output_is_that_of_a_cpu(architecture: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    network = fold(build(architecture, seed=1)).eval()
    image = torch.rand(2, architecture.get("channels", 3), 19, 13, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = network(image)
        network.to("cuda").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        torch.testing.assert_close(network(image.cuda()).cpu(), expected, atol=1e-4, rtol=1e-4)


def test_scn_trains_the_same_way_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    image = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(2)).cuda()

    def gradients() -> list[torch.Tensor]:
        network = build({"name": "scn", "blocks": 2, "units": 8, "scales": 3, "scale": 2}, seed=1).cuda()
        network(image).abs().mean().backward()
        return [p.grad for p in network.parameters() if p.grad is not None]

    for first, second in zip(gradients(), gradients(), strict=True):
        assert torch.equal(first, second)
