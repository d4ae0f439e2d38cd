"""Which network of this project a published row is: for its parameters and its time, where the paper prints none."""

from collections.abc import Mapping
from typing import Any

from scn.core.hashing import digest
from scn.evaluation.published import Published
from scn.imaging.tasks import TASKS
from scn.networks import DEFAULT, NETWORKS

SAME = 0.02
"""Share by which the parameters of a network may differ from the printed ones, which are rounded."""

_SRRESNET, _CARN = {"name": "srresnet"}, {"name": "carn"}
NETWORKS_OF: Mapping[str, Mapping[str, Any]] = {
    "SCN": {"name": "scn", "blocks": 64, "units": 64, "width": 4, "scales": 4},
    "SRCNN": {"name": "srcnn"},
    "VDSR": {"name": "vdsr"},
    "DnCNN": {"name": "dncnn"},
    "ARCNN": {"name": "arcnn"},
    "EDSR": {"name": "edsr", "blocks": 32, "units": 256, "residual_scaling": 0.1},
    "SRResNet": _SRRESNET,
    "SRResNet-MS-Conv": {**_SRRESNET, "conv": "ms"},
    "SRResNet-MS2-Conv": {**_SRRESNET, "conv": "ms2"},
    "SRResNet-MS3-Conv": {**_SRRESNET, "conv": "ms3"},
    "SRResNet-MS3-Conv+": {**_SRRESNET, "conv": "ms3", "blocks": 46},
    "CARN": _CARN,
    "CARN-MS3-Conv": {**_CARN, "conv": "ms3"},
    "CARN-MS3-Conv+": {**_CARN, "conv": "ms3", "blocks": 8},
}
"""Method, as tables of papers spell it -> the network of the size that it has there."""
_ONE_SIZE = ("SRCNN", "VDSR", "DnCNN", "ARCNN")
"""Methods of one size; of the others the row must tell it, or its note (SCN: section 4.1, for super-resolution)."""


def network_of(row: Published) -> dict[str, Any] | None:
    """Returns the architecture of a published row's network, as scn.networks.build takes it.

    None if the project has no such network, or the paper does not tell its size, or another one.
    """
    method = base_of(row.method)
    known = NETWORKS_OF.get(method)
    if known is None:
        return None
    scale = TASKS[row.task].scale(row.level)
    found = {**known, "channels": NETWORKS[known["name"]].channels, "scale": scale}
    if row.parameters:
        return found if abs(count_parameters(found) / row.parameters - 1) <= SAME else None
    return found if method in _ONE_SIZE or "64 blocks, 64 units" in row.note else None


def base_of(method: str) -> str:
    """Returns the name of a method without the "+" that stands for self-ensemble: "SCN" for "SCN+"."""
    base = method.removesuffix("+")
    return base if base in NETWORKS_OF and method not in NETWORKS_OF else method


def is_ensemble(row: Published) -> bool:
    """True if the figure of a row is that of a network with self-ensemble."""
    return base_of(row.method) != row.method


def parameters_of(row: Published) -> int | None:
    """Returns the parameters of a published row's network: the printed ones, or those of this project's network."""
    if row.parameters:
        return row.parameters
    architecture = network_of(row)
    return count_parameters(architecture) if architecture else None


def in_inference(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an architecture without weight normalisation, which is folded in inference: it is built much faster."""
    row = NETWORKS.get(architecture.get("name", DEFAULT))
    folded = {"weight_norm": False} if row and "weight_norm" in row.config.model_fields else {}
    return {**architecture, **folded}


def count_parameters(architecture: Mapping[str, Any]) -> int:
    """Returns the parameters of a network in inference, counted once; raises UserError if it can't be built."""
    architecture = in_inference(architecture)
    key = digest(dict(architecture))
    if key not in _counted:
        from scn.networks import profile

        _counted[key] = profile.count_parameters(architecture)
    return _counted[key]


_counted: dict[str, int] = {}
