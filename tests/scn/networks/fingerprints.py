"""A few small architectures for every network, and fingerprints of their outputs.

`python tests/scn/networks/fingerprints.py` writes fingerprints.json anew, after an intended change of a network.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scn.networks.build import build

FILE = Path(__file__).with_suffix(".json")
SEED = 7

SMALL: dict[str, list[dict[str, Any]]] = {
    "scn": [
        {"blocks": 2, "units": 6, "width": 2, "scales": 3, "scale": 2},
        {"blocks": 2, "units": 6, "width": 2, "scales": 3, "kernel": 5, "ratio": 0.7, "ends": "replicate"},
        {"blocks": 2, "units": 6, "width": 2, "scales": 2, "resampling": "pooling", "ends": "zero", "scale": 3},
        {"blocks": 1, "units": 6, "width": 2, "scales": 2, "resampling": "strided", "factorised": False},
        {"blocks": 1, "units": 6, "width": 2, "scales": 2, "shared": False, "weight_norm": False, "channels": 1},
        {"blocks": 1, "units": 6, "width": 2, "scales": 1, "scale": 4},
        {"blocks": 2, "units": 6, "width": 2, "scales": 3, "initial": "authors", "scale": 2},
    ],
    "scn-baseline": [{"blocks": 2, "units": 6, "width": 2, "scale": 2}],
    "scn-unshared": [{"blocks": 2, "units": 6, "width": 2, "scales": 3, "scale": 2}],
    "scn-unshared-large": [{"blocks": 1, "units": 7, "width": 2, "scales": 2, "scale": 2}],
    "scn-unet": [{"blocks": 4, "units": 6, "width": 2, "scale": 2}],
    "scn-pspnet": [{"blocks": 2, "units": 6, "width": 2, "scale": 2}],
    "srcnn": [
        {"units": 8, "channels": 1, "scale": 3},
        {"units": 8, "kernel": 1},
        {"units": 8, "luma": True, "scale": 2},
    ],
    "arcnn": [{"units": 8, "channels": 1}, {"units": 8, "scale": 2}],
    "vdsr": [{"layers": 4, "units": 8, "channels": 1, "scale": 2}],
    "dncnn": [{"layers": 4, "units": 8, "channels": 1}, {"layers": 3, "units": 8, "batch_norm": False}],
    "edsr": [
        {"blocks": 2, "units": 8, "scale": 2},
        {"blocks": 1, "units": 8, "residual_scaling": 0.1, "scale": 4},
        {"blocks": 1, "units": 8, "residual_scaling": 0.1, "mean": "div2k", "scale": 4},
    ],
    "msrresnet": [{"blocks": 2, "units": 8, "scale": 4}, {"blocks": 1, "units": 8}],
    "wdsr": [{"blocks": 2, "units": 6, "width": 2, "scale": 3}, {"blocks": 1, "units": 6, "weight_norm": False}],
    "srresnet": [
        {"blocks": 2, "units": 8, "scale": 4},
        {"blocks": 2, "units": 8, "conv": "ms", "scale": 2},
        {"blocks": 2, "units": 8, "conv": "ms2", "branches": 3},
        {"blocks": 2, "units": 8, "conv": "ms3", "scale": 2},
        {"blocks": 1, "units": 8, "conv": "ms3-l", "scale": 3},
        {"blocks": 1, "units": 8, "conv": "octave", "alpha": 0.25, "scale": 2},
        {"blocks": 1, "units": 8, "conv": "multigrid"},
        {"blocks": 1, "units": 8, "conv": "unet", "channels": 1},
    ],
    "carn": [
        {"blocks": 2, "units": 8, "scale": 4},
        {"blocks": 1, "units": 8, "conv": "ms3", "scale": 2},
        {"blocks": 1, "units": 8, "conv": "dilated"},
    ],
    "scalewise-original": [
        {"blocks": 2, "units": 6, "scales": 3, "scale": 2},
        {"blocks": 1, "units": 6, "channels": 1},
    ],
    "scalewise-adaptive": [
        {"blocks": 2, "units": 6, "scales": 3, "scale": 2},
        {"blocks": 1, "units": 6, "channels": 1},
    ],
}
"""Name -> parameters, `channels` (3) and `scale` (1) of the networks that are tested: small, all options in use."""

ARCHITECTURES = [{"name": name, **parameters} for name, of_name in SMALL.items() for parameters in of_name]


def label(architecture: dict[str, Any]) -> str:
    """Writes an architecture as `scn profile` takes it."""
    settings = [f"{key}={value}" for key, value in architecture.items() if key != "name"]
    return " ".join([architecture["name"], *settings])


def image(architecture: dict[str, Any], height: int = 19, width: int = 13, batch: int = 1) -> Tensor:
    """An image (batch, C, height, width) in [0, 1] that depends on its shape alone, on every machine."""
    channels = architecture.get("channels", 3)
    position = torch.arange(batch * channels * height * width, dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(position**1.5)).float().reshape(batch, channels, height, width)


def fingerprint(architecture: dict[str, Any]) -> list[float]:
    """Mean, standard deviation and four pixels of the output, to 8 significant digits."""
    with torch.inference_mode():
        output = build(architecture, seed=SEED).eval()(image(architecture))[0, -1]
    pixels = [output[0, 0], output[0, -1], output[output.shape[0] // 2, output.shape[1] // 2], output[-1, -2]]
    return [float(f"{float(number):.8g}") for number in (output.mean(), output.std(), *pixels)]


if __name__ == "__main__":
    lines = [f" {json.dumps(label(a))}: {json.dumps(fingerprint(a))}" for a in ARCHITECTURES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
