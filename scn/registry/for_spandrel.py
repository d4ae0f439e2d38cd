"""A plug-in for spandrel, which image programs load models with: it then loads SCN from model.safetensors.

    from spandrel import ModelLoader
    from scn.registry.for_spandrel import install

    install()
    model = ModelLoader().load_from_file("scn/zoo/dn-s25/model.safetensors")

The weights of SCN are the same for any number of scales, so they don't say how many there are: models that ship are
known by their weights, those of other folders if `install` is given the folders, and for the rest it is given `scales`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from scn import zoo
from scn.core.errors import UserError
from scn.inference.model_config import CONFIG, WEIGHTS
from scn.networks.build import build, fold

try:
    from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, ModelTiling
    from spandrel.util import KeyCondition
except (ImportError, RuntimeError) as error:  # torchvision, which spandrel imports, raises RuntimeError beside a
    # PyTorch that it was not built for
    why = str(error).splitlines()[0].rstrip(".")
    raise UserError(f"spandrel can't be imported ({why}): install it with pip install 'scn[spandrel]'.") from None

_FIRST = "trunk.blocks.0"
_DETECTED = KeyCondition.has_all(
    *("head.weight", "tail.weight", f"{_FIRST}.expand.weight", f"{_FIRST}.scale_wise.spatial.weight"),
    KeyCondition.has_any(*(f"{_FIRST}.scale_wise.cross.{name}1.weight" for name in ("finer", "coarser"))),
)


def install(
    folders: Iterable[Path | str] = (), *, scales: int | None = None, registry: ArchRegistry = MAIN_REGISTRY
) -> None:
    """Lets spandrel load SCN; a second call takes the place of the first.

    Args:
        folders: of models, beside those that ship, whose weights are to be known.
        scales: number of scales of the pyramid of all other weights; None: they are refused.
        registry: spandrel's own, unless a loader has another.
    Raises:
        UserError: if a folder holds no model.
    """
    known = {}
    for folder in [*(zoo.FOLDER / name for name in zoo.names()), *map(Path, folders)]:
        try:
            architecture = json.loads((folder / CONFIG).read_bytes())["architecture"]
            known[_digest(load_file(folder / WEIGHTS))] = architecture
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder} holds no model ({error}): name folders with {WEIGHTS} and {CONFIG}.") from None
    present: Any = registry.get("SCN")
    if present is None:
        registry.add(ArchSupport.from_architecture(ScnArchitecture(known, scales)))
    else:  # spandrel has no way to take one out
        present.architecture.known, present.architecture.scales = known, scales


class ScnArchitecture(Architecture[Any]):
    """SCN as spandrel sees it: found by keys that no other architecture has.

    Args:
        known: architectures by the digest of their weights.
        scales: number of scales of all others; None: they are refused.
    """

    def __init__(self, known: Mapping[str, Mapping[str, Any]], scales: int | None) -> None:
        super().__init__(id="SCN", name="SCN", detect=_DETECTED)
        self.known, self.scales = known, scales

    def load(self, state_dict: dict[str, Tensor]) -> ImageModelDescriptor[Any]:
        """Builds the network of the weights. Raises UserError where they don't say how many scales it has."""
        told = self.known.get(_digest(state_dict))
        if told is None and self.scales is None:
            raise UserError(
                "The weights of this SCN don't say how many scales it has: call install(scales=N), or install with the "
                "model's folder."
            )
        architecture = dict(told or {**_of_shapes(state_dict), "scales": self.scales})
        architecture["weight_norm"] = False  # folded into the weights
        network = fold(build(architecture)).eval().requires_grad_(False)
        scale, channels = architecture.get("scale", 1), architecture.get("channels", 3)
        return ImageModelDescriptor(
            network,
            state_dict,
            self,
            purpose="SR" if scale > 1 else "Restoration",
            tags=[f"{architecture['units']}u", f"{architecture['blocks']}b", f"{architecture['scales']} scales"],
            supports_half=True,
            supports_bfloat16=True,
            scale=scale,
            input_channels=channels,
            output_channels=channels,
            # Where a scale's pixels lie depends on the size of the image, see scn.networks.base.windows.
            tiling=ModelTiling.DISCOURAGED if architecture["scales"] > 1 else ModelTiling.SUPPORTED,
        )


def _of_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The parameters that the shapes tell; ratio, ends and resampling are the defaults."""
    units, channels = state["head.weight"].shape[:2]
    names = [key.split(".") for key in state]
    offsets = {name[5] for name in names if name[:2] == ["trunk", "blocks"] and name[4:5] == ["cross"]}
    return {
        "name": "scn",
        "blocks": 1 + max(int(name[2]) for name in names if name[:2] == ["trunk", "blocks"]),
        "units": units,
        "width": state[f"{_FIRST}.expand.weight"].shape[0] // units,
        "kernel": 1 + len(offsets),
        "factorised": state[f"{_FIRST}.scale_wise.cross.finer1.weight"].shape[-1] == 1,
        "channels": channels,
        "scale": math.isqrt(state["tail.weight"].shape[0] // channels),
    }


def _digest(state: Mapping[str, Tensor]) -> str:
    whole = sha256()
    for key in sorted(state):
        whole.update(key.encode())
        # As bytes: NumPy has no bfloat16, and a tensor of no dimension can't be seen as another type.
        whole.update(state[key].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()
