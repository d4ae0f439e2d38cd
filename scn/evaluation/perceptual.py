"""LPIPS and DISTS, perceptual distances by their authors' packages, where these and their weights are on the machine.

LPIPS: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018 (version 0.1,
AlexNet). DISTS: Ding et al., Image Quality Assessment: Unifying Structure and Texture Similarity, PAMI 2020 (VGG-16).
Nothing is downloaded: the weights of AlexNet and VGG-16 have to lie in PyTorch's folder of checkpoints.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scn.core.errors import UserError
from scn.core.hashing import code_sha256, digest, file_sha256, sources

Distance = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]
"""A function of two 8-bit images, (H, W) or (H, W, 3), that is 0 for the same image."""


@dataclass(frozen=True, kw_only=True)
class _Needed:
    module: str
    package: str
    weights: str
    """Pattern of the file in PyTorch's folder of checkpoints."""
    smallest_side: int
    """Shortest side, in pixels, of the images that it can compare."""
    make: Callable[[Any], Any]
    """Makes the distance of the imported module: (N, 3, H, W) in [0, 1], twice, -> a tensor of one value."""


def _lpips(module: Any) -> Any:
    network = module.LPIPS(net="alex", verbose=False).eval()
    return lambda a, b: network(a, b, normalize=True)  # it takes [-1, 1] otherwise


_DISTANCES: Mapping[str, _Needed] = {
    "lpips": _Needed(  # AlexNet's strides and pools leave nothing of fewer than 31 pixels
        module="lpips", package="lpips", weights="alexnet-owt-*.pth", smallest_side=31, make=_lpips
    ),
    "dists": _Needed(
        module="DISTS_pytorch",
        package="DISTS-pytorch",
        weights="vgg16-*.pth",
        smallest_side=1,
        make=lambda m: m.DISTS().eval(),
    ),
}


def perceptual() -> dict[str, Distance]:
    """Returns the distances that can be computed here, by the names of their figures: lpips, dists.

    Raises:
        UserError: if there is none, saying what to install.
    """
    checkpoints = _checkpoints()
    found = {}
    for name, needed in _DISTANCES.items():
        if importlib.util.find_spec(needed.module) and any(checkpoints.glob(needed.weights)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the arguments that their packages pass to torchvision
                found[name] = _distance(needed.make(importlib.import_module(needed.module)))
    if not found:
        wanted = " or ".join(f"{needed.package} and {needed.weights}" for needed in _DISTANCES.values())
        raise UserError(f"--perceptual: install {wanted}, the weights in {checkpoints}, or leave the option out.")
    return found


def smallest_side(name: str) -> int:
    """Returns the shortest side, in pixels, of the images that the distance `name` can compare."""
    return _DISTANCES[name].smallest_side


def perceptual_sha256(names: Iterable[str]) -> str | None:
    """Returns the SHA-256 of all that decides distances: this code, their packages and weights; None for no names.

    Args:
        names: keys of what `perceptual` returns.
    """
    about = {}
    for name in names:
        needed = _DISTANCES[name]
        weights = [file_sha256(path) for path in sorted(_checkpoints().glob(needed.weights))]
        about[name] = [_version(needed.package), _version("torchvision"), *weights]
    return digest([code_sha256(sources("scn/evaluation/perceptual.py")), about]) if about else None


def _checkpoints() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # its module lies on the path without having been installed
        return ""


def _distance(compute: Any) -> Distance:
    def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
        with torch.inference_mode():
            return float(compute(_tensor(a), _tensor(b)))

    return distance


def _tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    colours = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(colours, -1, 0)[None]) / np.float32(255))
