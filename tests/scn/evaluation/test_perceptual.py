"""LPIPS and DISTS: found where they are, asked with what they expect. Stand-ins take the place of their packages."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.evaluation.perceptual import perceptual, perceptual_sha256


class Lpips(nn.Module):
    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert (net, verbose) == ("alex", False)

    def forward(self, a: Tensor, b: Tensor, normalize: bool) -> Tensor:
        assert normalize
        assert not self.training
        assert a.shape == b.shape == (1, 3, 6, 8)
        assert 0 <= a.min() <= a.max() <= 1
        return (a - b).abs().mean().reshape(1, 1, 1, 1)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("lpips")
    module.__spec__ = "there"
    module.LPIPS = Lpips
    monkeypatch.setitem(sys.modules, "lpips", module)
    monkeypatch.setitem(sys.modules, "DISTS_pytorch", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: module if name == "lpips" else None)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("colours", [(), (3,)])
def test_lpips_is_computed_on_rgb_in_0_to_1(checkpoints: Path, colours: tuple[int, ...]) -> None:
    (checkpoints / "alexnet-owt-7be5be79.pth").touch()
    distances = perceptual()
    assert list(distances) == ["lpips"]
    image = np.full((6, 8, *colours), 100, np.uint8)
    assert distances["lpips"](image, image) == 0
    assert distances["lpips"](image, image + 51) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.usefixtures("package")
def test_without_weights_nothing_is_downloaded(checkpoints: Path) -> None:
    with pytest.raises(UserError, match=r"^--perceptual: install lpips and alexnet-owt-\*\.pth or DISTS-pytorch and"):
        perceptual()
    assert not list(checkpoints.iterdir())


@pytest.mark.usefixtures("package")
def test_weights_are_in_the_hash(checkpoints: Path) -> None:
    assert perceptual_sha256([]) is None
    path = checkpoints / "alexnet-owt-7be5be79.pth"
    found = set()
    for weights in (b"some", b"others"):
        path.write_bytes(weights)
        sha256 = perceptual_sha256(perceptual())
        assert sha256 is not None
        assert sha256 == perceptual_sha256(["lpips"])
        found.add(sha256)
    assert len(found) == 2
