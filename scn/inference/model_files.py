"""Model folders: model.safetensors holds the weights, config.json the architecture and more."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.schema import UnknownNameError
from scn.inference.model_config import CONFIG, WEIGHTS, lasting, unknown_model
from scn.networks.build import build_on_meta, fold


def save_model(folder: Path, network: nn.Module, architecture: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Writes a model folder: the weights, and config.json, from which the network can be built.

    Weight normalisation is folded into the weights, which changes `network`. Each file appears whole; config.json,
    without which the folder is no model, comes last.

    Args:
        architecture: name, parameters, channels and scale of the network, as scn.networks.build takes them; those in
            BEGINNING are left out.
        about: more keys for config.json (experiment, training figures, hashes).
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in fold(network).state_dict().items()}
    write_atomically(folder / WEIGHTS, save(state))
    # The fewer parameters it names, the more versions of scn can load it. Their defaults are not left out: those of a
    # later version may be others.
    config = {**about, "architecture": lasting(architecture)}
    write_atomically(folder / CONFIG, (json.dumps(config, indent=1, sort_keys=True) + "\n").encode())


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Reads a model folder; returns the network in eval mode and the content of config.json.

    Raises:
        UserError: if a file is missing or damaged, the network is not known here, or the weights are those of another
            architecture.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} is no model folder: it has no {name}; train the experiment, or name another folder."
            )
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        architecture = config["architecture"]
        if not isinstance(architecture, dict):
            raise TypeError("its architecture is no table of parameters")
        state = load((folder / WEIGHTS).read_bytes())
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{folder} holds a damaged model ({error}): fetch or train it again.") from None
    # Its weights are folded: the parametrisation would leave a hook behind, with which nothing can be pickled.
    plain = {"weight_norm": False} if "weight_norm" in architecture else {}
    try:
        network = fold(build_on_meta({**architecture, **plain})).eval()  # the random state is the caller's
    except UserError as error:
        why = str(error).removeprefix("The network: ").rstrip(".")
        if not isinstance(error, UnknownNameError):
            raise UserError(
                f"{folder / CONFIG} is damaged ({why}): correct it, or fetch or train the model again."
            ) from None
        raise unknown_model(folder, re.sub(": use one of .*", "", why)) from None
    expected = network.state_dict()
    wrong = [
        k
        for k in sorted({*expected, *state})
        if k not in state or k not in expected or state[k].shape != expected[k].shape
    ]
    if wrong:
        raise UserError(
            f"{folder / WEIGHTS} holds the weights of another architecture than {CONFIG} describes "
            f"({len(wrong)} tensors differ, first '{wrong[0]}'): use the pair of files that were published together."
        )
    # float32, whatever PyTorch's default is; and copies, as the file's tensors lie in its bytes, maybe not aligned
    types = {k: torch.float32 if v.is_floating_point() else v.dtype for k, v in expected.items()}
    network.load_state_dict({k: v.to(types[k], copy=True) for k, v in state.items()}, assign=True)
    return network, config
