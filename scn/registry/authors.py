"""Import of checkpoints of the SCN paper's authors (ychfan/scn); code in them is never run."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.networks import network_config
from scn.networks.build import build, fold
from scn.registry.checkpoint_files import check_free, check_task, read_state, task_of, write_model

FORMAT = "ychfan-scn"
"""Name of the format."""

_LEAVES = {
    "bias": "bias",
    "weight": "weight",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def import_scn(
    file: Path, out: Path, *, scales: int, task: str | None = None, experiment: Experiment | None = None
) -> dict[str, Any]:
    """Writes a checkpoint of the authors as a model folder, for `scn.load` and `scn restore`.

    Args:
        file: a state dict as torch.save writes it, or a dict with one under `model_state_dict`.
        out: the folder, which must not hold anything yet.
        scales: number of scales of the pyramid, which the file does not say.
        task: sr, dn or car; None: the only one that fits the network, which there is if it enlarges.
        experiment: gives task and level.
    Returns:
        the architecture, as in the folder's config.json.
    Raises:
        UserError: if the file is no such checkpoint, or a part of it is missing, of another shape, not float32 or not
            finite; if the task is missing or does not fit; if `out` holds something or can't be written.
    """
    check_task(task, experiment)
    check_free(out)
    state, sha256 = read_state(file, partial(_refusal, file))
    architecture = _architecture(state, scales, file)
    task = task_of(architecture, task, file, experiment)
    theirs = {ours: key for key, ours in _names(architecture["blocks"]).items()}
    with torch.device("meta"):  # whatever the file claims, nothing is allocated before the shapes agree
        expected = {theirs[ours]: tensor for ours, tensor in build(architecture).state_dict().items()}
    wrong = list(_differences(state, expected))
    if wrong:
        raise _refusal(file, wrong[0] + (f", and {len(wrong) - 1} more don't fit" if len(wrong) > 1 else ""))
    network = build(architecture)
    network.load_state_dict(convert(state, architecture["blocks"]))
    for ours, tensor in fold(network).state_dict().items():
        if not tensor.isfinite().all():
            raise _refusal(file, f"its weight normalisation gives a '{theirs[ours]}' that is not finite")
    write_model(out, network, architecture, task, FORMAT, sha256, experiment)
    return architecture


def convert(state: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Renames the keys of the authors' SCN with `blocks` blocks to this project's; unknown keys stay as they are."""
    names = _names(blocks)
    return {names.get(key, key): tensor for key, tensor in state.items()}


def _names(blocks: int) -> dict[str, str]:
    """The authors' key -> ours, for every layer and parameter that there can be."""
    # body.1 makes the pyramid and body.{blocks + 2} takes its finest scale: they have no weights.
    layers = {"body.0": "head", f"body.{blocks + 3}": "tail", "skip.0": "skip"}
    for i in range(blocks):
        theirs, ours = f"body.{i + 2}", f"trunk.blocks.{i}"
        layers |= {
            f"{theirs}.body.0": f"{ours}.expand",
            f"{theirs}.body.2": f"{ours}.scale_wise.spatial",
            f"{theirs}.down.0": f"{ours}.scale_wise.cross.finer1",
            f"{theirs}.up.0": f"{ours}.scale_wise.cross.coarser1",
        }
    return {f"{key}.{leaf}": f"{layers[key]}.{_LEAVES[leaf]}" for key in layers for leaf in _LEAVES}


def _architecture(state: Mapping[str, Tensor], scales: int, file: Path) -> dict[str, Any]:
    """The parameters that the shapes tell, and `scales`; ratio, kernel and ends are the authors'."""
    weight_norm = any(key.endswith(".weight_v") for key in state)
    blocks = sum(key.endswith(".body.0.bias") for key in state)

    def shape(layer: str) -> torch.Size:
        key = f"{layer}.weight_v" if weight_norm else f"{layer}.weight"
        if key not in state:
            raise _refusal(file, f"'{key}' is missing")
        if state[key].ndim != 4 or not state[key].numel():
            raise _refusal(file, f"'{key}' of shape {tuple(state[key].shape)} is no convolution")
        return state[key].shape

    units, channels = shape("body.0")[:2]
    width = shape("body.2.body.0")[0] // units
    scale = math.isqrt(shape(f"body.{blocks + 3}")[0] // channels)
    parameters = {"blocks": blocks, "units": units, "width": width, "scales": scales, "weight_norm": weight_norm}
    config = network_config({"name": "scn", **parameters}, file)
    if channels not in (1, 3) or scale < 1:
        raise _refusal(file, f"a network has 1 or 3 channels, not {channels}, and a scale from 1, not {scale}")
    return {**config.model_dump(), "channels": channels, "scale": scale}


def _differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    for key in sorted({*state, *expected}):
        if key not in state:
            yield f"'{key}' is missing"
        elif key not in expected:
            yield f"'{key}' is unexpected"
        elif state[key].shape != expected[key].shape:
            yield f"'{key}' is of shape {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"


def _refusal(file: Path, why: str) -> UserError:
    return UserError(f"{file} is no checkpoint of the authors' SCN ({why}): name one, as their trainer wrote it.")
