"""MSRResNet is its equation, at the published size."""

import torch
import torch.nn.functional as F

from scn.networks.build import build


def test_parameters_are_those_of_the_published_weights() -> None:
    """BasicSR's MSRResNet_x4: 36 convolutions of 64 channels, and the first and the last."""
    expected = (3 * 9 + 1) * 64 + 33 * (64 * 9 + 1) * 64 + 2 * (64 * 9 + 1) * 256 + (64 * 9 + 1) * 3
    assert sum(p.numel() for p in build({"name": "msrresnet", "scale": 4}).parameters()) == expected


def test_it_is_its_equation() -> None:
    network = build({"name": "msrresnet", "blocks": 2, "units": 6, "scale": 4}, seed=0)
    image = torch.rand(1, 3, 6, 5)
    part = dict(network.named_modules())
    features = part["body"](F.leaky_relu(part["first"](image), 0.1))
    for layer in ("up.0", "up.1"):
        features = F.leaky_relu(F.pixel_shuffle(part[layer](features), 2), 0.1)
    base = F.interpolate(image, size=(24, 20), mode="bilinear")
    expected = part["last"](F.leaky_relu(part["high"](features), 0.1)) + base
    torch.testing.assert_close(network(image), expected)
