"""A network in tiles gives what it gives for the whole image: frame, seams and all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import scn.zoo
from scn.imaging.degradation import to_uint8
from scn.inference.apply import apply
from scn.inference.ensemble import self_ensemble
from scn.inference.model_files import load_model
from scn.inference.tiled import margin_of, restore_tiled
from scn.networks.build import build, fold

SHIPPED = Path(scn.zoo.__file__).parent
ARCHITECTURES = {
    "scn": {"name": "scn", "blocks": 2, "units": 8, "width": 2, "scales": 3, "scale": 2},
    "ratio": {"name": "scn", "blocks": 2, "units": 8, "width": 2, "scales": 3, "ratio": 0.7, "scale": 1},
    "pooling": {"name": "scn", "blocks": 2, "units": 8, "width": 2, "scales": 2, "resampling": "pooling", "scale": 1},
    "strided": {"name": "scn", "blocks": 2, "units": 8, "width": 2, "scales": 2, "resampling": "strided", "scale": 1},
    "u-net": {"name": "scn-unet", "blocks": 4, "units": 8, "width": 2, "scale": 1},
    "psp-net": {"name": "scn-pspnet", "blocks": 2, "units": 8, "width": 2, "scale": 1},
    "report": {"name": "scalewise-original", "blocks": 1, "units": 8, "scales": 3, "scale": 2},
    "edsr": {"name": "edsr", "blocks": 2, "units": 8, "scale": 3},
    "vdsr": {"name": "vdsr", "layers": 5, "units": 8, "scale": 2},
}
CPU = torch.device("cpu")


def restored(network: nn.Module, image: NDArray[np.uint8], scale: int, tile: int, ensemble: bool = False) -> Any:
    """An image as grey levels, restored in tiles."""

    def run(part: NDArray[np.uint8]) -> NDArray[np.float32]:
        return apply(network, (part / np.float32(255)).astype(np.float32)[None], CPU)[0]

    return restore_tiled(network, run, image, scale, to_uint8, tile=tile, ensemble=ensemble).astype(int)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tiled_is_whole(photograph: Callable[..., Any], name: str) -> None:
    network = fold(build({**ARCHITECTURES[name], "channels": 3}, seed=0)).eval()
    image, scale = photograph(173, 210), int(ARCHITECTURES[name]["scale"])  # type: ignore[call-overload]
    whole = restored(network, image, scale, tile=512)
    tiled = restored(network, image, scale, tile=128)
    assert np.abs(whole - tiled).max() <= 1
    assert np.abs(whole - tiled).mean() < 0.02


@pytest.mark.parametrize(
    "pyramid",
    [
        {"blocks": 8, "scales": 8},
        {"blocks": 3, "scales": 3, "ratio": 1 / 3, "resampling": "pooling"},
        {"blocks": 3, "scales": 3, "ratio": 1 / 3, "resampling": "strided"},
        {"blocks": 2, "scales": 2, "ratio": 1 / 5, "resampling": "pooling"},
    ],
    ids=str,
)
def test_tiled_is_whole_where_scales_divide_more_than_32_pixels(pyramid: dict[str, Any]) -> None:
    network = fold(build({"name": "scn", "units": 4, "width": 2, "channels": 1, **pyramid}, seed=0)).eval()
    noise = np.random.default_rng(0)
    grains = (np.kron(noise.integers(0, 85, (736 // n, 160 // n, 1)), np.ones((n, n, 1))) for n in (2, 8, 32))
    image = sum(grains)[:717, :150].astype(np.uint8)  # type: ignore[index]
    whole, tiled = (restored(network, image, 1, tile) for tile in (1024, 320))
    assert np.abs(whole - tiled).max() <= 1


@pytest.mark.parametrize("name", ["dn-s15", "dn-s25", "dn-s50"])
def test_models_that_ship_are_whole_in_tiles(
    photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network = load_model(SHIPPED / name)[0]
    noise = np.random.default_rng(0).normal(0, 25, (205, 100, 1))
    image = np.clip(photograph(205, 100, 1) + noise, 0, 255).astype(np.uint8)
    whole, tiled = (restored(network, image, 1, tile) for tile in (512, 128))
    assert np.abs(whole - tiled).max() <= 1
    assert (whole == tiled).mean() > 0.99
    assert 24 <= margin_of(network) <= 60  # half of its receptive field is 52
    monkeypatch.setattr("scn.inference.tiled._windows", lambda *_: None)
    as_images = restored(network, image, 1, 128)  # resampled as if each were an image, tiles differ
    assert np.abs(whole - as_images).sum() > 10 * np.abs(whole - tiled).sum()


def test_the_ensemble_of_tiles_is_that_of_the_whole(photograph: Callable[..., Any]) -> None:
    network = fold(build({**ARCHITECTURES["scn"], "channels": 1}, seed=0)).eval()
    image = photograph(140, 151, 1)
    x = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255))
    with torch.inference_mode():
        expected = to_uint8(self_ensemble(network, x)[0].permute(1, 2, 0).numpy()).astype(int)
    assert np.abs(restored(network, image, 2, 128, ensemble=True) - expected).max() <= 1
