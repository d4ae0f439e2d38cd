"""Checkpoints of the SCN paper's authors (ychfan/scn), read into our format; no code in them is ever run."""

import hashlib
import io
import math
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scn.errors import UserError
from scn.models import build
from scn.models.files import save_model
from scn.networks import network_config
from scn.schema import unknown
from scn.tasks import TASKS

FORMATS = ("ychfan-scn",)

_LEAVES = {
    "bias": "bias",
    "weight": "weight",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def import_model(
    file: Path, out: Path, *, scales: int, task: str | None = None, format: str = FORMATS[0]
) -> dict[str, Any]:
    """Writes a checkpoint of the authors as a model folder, for `scn.load` and `scn restore`.

    Args:
        file: a state dict as torch.save writes it, or a dict with one under `model_state_dict`.
        out: the folder, which must not hold anything yet.
        scales: levels of the pyramid, which the file does not say.
        task: what the network restores: sr, dn or car. From the file if it enlarges.
    Returns:
        the architecture.
    Raises:
        UserError: if the file is something else, or a part of it is missing, of another shape or not float32; if the
            task is missing or another; if `out` holds something.
    """
    if format not in FORMATS:
        raise UserError(f"{unknown(format, FORMATS, 'format of checkpoints')}.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} exists and is no empty folder: name a new folder for the model.")
    state, sha256 = _read(file)
    architecture = _architecture(state, scales, file)
    task = _task(architecture, task, file)
    with torch.device("meta"):  # whatever the file claims, nothing is allocated before the shapes agree
        expected = build(architecture).state_dict()
    ours = convert(state, architecture["blocks"])
    wrong = [
        k for k in sorted({*expected, *ours}) if k not in ours or k not in expected or not _like(ours, expected, k)
    ]
    if wrong:
        raise _refusal(file, f"{len(wrong)} of its tensors don't fit the others, first what is our '{wrong[0]}'")
    network = build(architecture)
    network.load_state_dict(ours)
    about = {"task": task, "imported": {"format": format, "sha256": sha256}}
    save_model(out, network, architecture, about)
    return architecture


def convert(state: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Keys of the authors' SCN of so many blocks -> keys of ours; those that it does not have stay as they are."""
    # body.1 makes the pyramid and body.{blocks + 2} takes its finest level: they have no weights.
    layers = {"body.0": "head", f"body.{blocks + 3}": "tail", "skip.0": "skip"}
    for i in range(blocks):
        theirs, ours = f"body.{i + 2}", f"trunk.blocks.{i}"
        layers |= {
            f"{theirs}.body.0": f"{ours}.expand",
            f"{theirs}.body.2": f"{ours}.scale_wise.spatial",
            f"{theirs}.down.0": f"{ours}.scale_wise.cross.finer1",
            f"{theirs}.up.0": f"{ours}.scale_wise.cross.coarser1",
        }
    parts = {key: key.rpartition(".") for key in state}
    return {
        f"{layers[layer]}.{_LEAVES[leaf]}" if layer in layers and leaf in _LEAVES else key: state[key]
        for key, (layer, _, leaf) in parts.items()
    }


def _read(file: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict, without the prefix of DataParallel, and the file's SHA-256."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}): name a checkpoint of the authors.") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats: they are read, or refused below
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise _refusal(file, "it holds more than tensors, or is no file of torch.save") from None
    except Exception as error:  # whatever PyTorch's reader meets in the bytes of a stranger
        raise _refusal(file, f"it can't be unpacked: {type(error).__name__}") from None
    if isinstance(content, dict):
        content = content.get("model_state_dict", content)
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise _refusal(file, "it holds no state dict")
    for key, tensor in content.items():
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.layout != torch.strided:
            what = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise _refusal(file, f"'{key}' is no float32 tensor but {what}")
    if sum(tensor.nbytes for tensor in content.values()) > len(data):
        raise _refusal(file, "its tensors are larger than the file")
    for key, tensor in content.items():
        if not tensor.isfinite().all():
            raise _refusal(file, f"'{key}' has values that are not finite")
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in content.items()}, hashlib.sha256(data).hexdigest()


def _architecture(state: Mapping[str, Tensor], scales: int, file: Path) -> dict[str, Any]:
    """The parameters that the shapes tell, and `scales`; ratio, kernel and ends are the authors'."""
    weight_norm = "body.0.weight_v" in state
    leaf = "weight_v" if weight_norm else "weight"
    blocks = sum(key.endswith(".body.0.bias") for key in state)
    try:
        units, channels = state[f"body.0.{leaf}"].shape[:2]
        width = state[f"body.2.body.0.{leaf}"].shape[0] // units
        scale = math.isqrt(state[f"body.{blocks + 3}.{leaf}"].shape[0] // channels)
    except (KeyError, ValueError, IndexError, ZeroDivisionError):
        raise _refusal(file, "it lacks the first or last convolution, or the first block, of SCN") from None
    parameters = {"blocks": blocks, "units": units, "width": width, "scales": scales, "weight_norm": weight_norm}
    config = network_config({"name": "scn", **parameters}, file)
    if channels not in (1, 3) or scale < 1:
        raise _refusal(file, f"a network has 1 or 3 channels, not {channels}, and a scale from 1, not {scale}")
    return {**config.model_dump(), "channels": channels, "scale": scale}


def _task(architecture: Mapping[str, Any], task: str | None, file: Path) -> str:
    """The task, which must be one for such images."""
    scale, channels = architecture["scale"], architecture["channels"]
    fitting = [name for name, row in TASKS.items() if (row.degradation == "bicubic") == (scale > 1)]
    if task is None and len(fitting) > 1:
        raise UserError(
            f"{file} does not say what its network restores: add --task {' or --task '.join(fitting)} "
            f"({' or '.join(TASKS[name].title for name in fitting)})."
        )
    task = task or fitting[0]
    if task not in fitting or TASKS[task].image_channels != channels:
        raise UserError(
            f"{file} holds a network of scale {scale} for images of {channels} channels, which is none for the task "
            f"'{task}': name another task of {', '.join(TASKS)}, or another checkpoint."
        )
    return task


def _like(ours: Mapping[str, Tensor], expected: Mapping[str, Tensor], key: str) -> bool:
    return ours[key].shape == expected[key].shape


def _refusal(file: Path, why: str) -> UserError:
    return UserError(f"{file} is no checkpoint of the authors' SCN ({why}): name one, as their trainer wrote it.")
