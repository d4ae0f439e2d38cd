"""Import of checkpoints of the SCN paper's authors (ychfan/scn); code in them is never run."""

import hashlib
import io
import math
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scn.core.errors import UserError
from scn.core.schema import unknown
from scn.imaging.tasks import TASKS
from scn.inference.model_files import save_model
from scn.networks import network_config
from scn.networks.build import build, fold

FORMATS = ("ychfan-scn",)
"""Names of the formats that `import_model` reads."""

_LEAVES = {
    "bias": "bias",
    "weight": "weight",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_IMAGES = {1: "grey", 3: "RGB"}


def import_model(
    file: Path, out: Path, *, scales: int, task: str | None = None, format: str = FORMATS[0]
) -> dict[str, Any]:
    """Writes a checkpoint of the authors as a model folder, for `scn.load` and `scn restore`.

    Args:
        file: a state dict as torch.save writes it, or a dict with one under `model_state_dict`.
        out: the folder, which must not hold anything yet.
        scales: number of scales of the pyramid, which the file does not say.
        task: sr, dn or car; None: the only one that fits the network, which there is if it enlarges.
        format: one of FORMATS.
    Returns:
        the architecture, as in the folder's config.json.
    Raises:
        UserError: if the file is no such checkpoint, or a part of it is missing, of another shape, not float32 or not
            finite; if the task is missing or does not fit; if `out` holds something or can't be written.
    """
    if format not in FORMATS:
        raise UserError(f"{unknown(format, FORMATS, 'format of checkpoints')}.")
    if task is not None and task not in TASKS:
        raise UserError(f"{unknown(task, TASKS, 'task')}.")
    try:
        taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    except OSError as error:
        raise UserError(f"{out} can't be read ({error.strerror}): name another folder for the model.") from None
    if taken:
        raise UserError(f"{out} exists and is no empty folder: name a new folder for the model.")
    state, sha256 = _read(file)
    architecture = _architecture(state, scales, file)
    task = _task(architecture, task, file)
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
    about = {"task": task, "imported": {"format": format, "sha256": sha256}}
    try:
        save_model(out, network, architecture, about)
    except OSError as error:
        raise UserError(f"{out} can't be written ({error.strerror}): name another folder for the model.") from None
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
        if what := _what(tensor):
            raise _refusal(file, f"'{key}' is no float32 tensor but {what}")
    if sum(tensor.nbytes for tensor in content.values()) > len(data):
        raise _refusal(file, "its tensors are larger than the file")
    for key, tensor in content.items():
        if not tensor.isfinite().all():
            raise _refusal(file, f"'{key}' has values that are not finite")
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in content.items()}, hashlib.sha256(data).hexdigest()


def _what(value: object) -> str | None:
    """Says what a value is that should be a float32 tensor; None for one that is."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided:
        return "a sparse one"
    if value.device.type == "meta":
        return "one without values (on the meta device)"
    return None if value.dtype == torch.float32 else str(value.dtype)


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


def _task(architecture: Mapping[str, Any], task: str | None, file: Path) -> str:
    """Returns the task, which must fit the network's scale and channels."""
    scale, channels = architecture["scale"], architecture["channels"]
    fitting = [
        name
        for name, row in TASKS.items()
        if (row.degradation == "bicubic") == (scale > 1) and row.image_channels == channels
    ]
    holds = f"{file} holds a network of scale {scale} for {_IMAGES[channels]} images"
    if not fitting:
        raise UserError(f"{holds}, which no task has ({', '.join(map(_needs, TASKS))}): name another checkpoint.")
    options = f"--task {' or --task '.join(fitting)}"
    if task is None and len(fitting) > 1:
        titles = " or ".join(TASKS[name].title for name in fitting)
        raise UserError(f"{file} does not say what its network restores: add {options} ({titles}).")
    task = task or fitting[0]
    if task not in fitting:
        raise UserError(f"{holds}, but {_needs(task)}: use {options}, or another checkpoint.")
    return task


def _needs(task: str) -> str:
    scale = "a scale from 2" if TASKS[task].degradation == "bicubic" else "scale 1"
    return f"{task} needs {scale} and {_IMAGES[TASKS[task].image_channels]} images"


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
