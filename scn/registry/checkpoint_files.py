"""What all imports of others' checkpoints share: reading a file safely, the task, and writing the model folder."""

import hashlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.schema import unknown
from scn.imaging.tasks import TASKS
from scn.inference.model_files import save_model

Refusal = Callable[[str], UserError]
"""Makes the error that refuses a file, of the reason."""
WRAPPED = ("params_ema", "params", "model_state_dict", "state_dict")
"""Keys under which a checkpoint may hold its state dict, the first one first."""
_IMAGES = {1: "grey", 3: "RGB"}


def check_free(out: Path) -> None:
    """Raises UserError unless `out` is a new or an empty folder."""
    try:
        taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    except OSError as error:
        raise UserError(f"{out} can't be read ({error.strerror}): name another folder for the model.") from None
    if taken:
        raise UserError(f"{out} exists and is no empty folder: name a new folder for the model.")


def check_task(task: str | None, experiment: Experiment | None = None) -> None:
    """Raises UserError for a task that there is not, or is not the experiment's; None is no task."""
    if task is not None and task not in TASKS:
        raise UserError(f"{unknown(task, TASKS, 'task')}.")
    if experiment and task not in (None, experiment.task_name):
        raise UserError(
            f"--task: {experiment.name}, which --as names, has the task {experiment.task_name}: leave it out."
        )


def read_bytes(file: Path) -> bytes:
    """The content of a file. Raises UserError if it can't be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} can't be read ({error.strerror}): name a checkpoint.") from None


def read_state(file: Path, refusal: Refusal) -> tuple[dict[str, Tensor], str]:
    """The state dict in a file of torch.save, and the file's SHA-256; code in it is never run.

    It may stand under one of the keys WRAPPED; the prefix of DataParallel and counters of batches are left out.

    Raises:
        UserError: as `refusal` words it, for anything but finite float32 tensors; or if the file can't be read.
    """
    data = read_bytes(file)
    if data.startswith(b"PK") and _unpacks_to_more(data):
        raise refusal("it is packed, or damaged, and torch.save packs nothing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats: they are read, or refused below
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise refusal("it holds more than tensors, or is no file of torch.save") from None
    except Exception as error:  # whatever PyTorch's reader meets in the bytes of a stranger
        raise refusal(f"it can't be unpacked: {type(error).__name__}") from None
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPED if key in content), content)
    if not isinstance(content, dict) or not content or not all(isinstance(key, str) for key in content):
        raise refusal("it holds no state dict")
    content = {key: tensor for key, tensor in content.items() if not key.endswith(".num_batches_tracked")}
    for key, tensor in content.items():
        if what := _what(tensor):
            raise refusal(f"'{key}' is no float32 tensor but {what}")
    if sum(tensor.nbytes for tensor in content.values()) > len(data):
        raise refusal("its tensors are larger than the file")
    for key, tensor in content.items():
        if not tensor.isfinite().all():
            raise refusal(f"'{key}' has values that are not finite")
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in content.items()}, hashlib.sha256(data).hexdigest()


def _unpacks_to_more(data: bytes) -> bool:
    """True if what a zip holds is larger than the zip, which torch.load would unpack as a whole; or if it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        return True
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    return not stored or sum(entry.file_size for entry in entries) > len(data)


def _what(value: object) -> str | None:
    """Says what a value is that should be a float32 tensor; None for one that is."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    if value.layout != torch.strided:
        return "a sparse one"
    if value.device.type == "meta":
        return "one without values (on the meta device)"
    return None if value.dtype == torch.float32 else str(value.dtype)


def task_of(architecture: Mapping[str, Any], task: str | None, file: Path, experiment: Experiment | None = None) -> str:
    """The task of an imported network, which must fit its scale and channels.

    Args:
        task: sr, dn or car; None: that of `experiment`, or the only one that fits.
    Raises:
        UserError: if none fits, several do, or `task` does not; or if the experiment has another scale.
    """
    if experiment and experiment.scale != architecture["scale"]:
        raise UserError(
            f"{file} holds a network of scale {architecture['scale']}, not of {experiment.scale} as {experiment.name}: "
            "name another experiment by --as."
        )
    task = experiment.task_name if experiment else task
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


def write_model(
    out: Path,
    network: nn.Module,
    architecture: Mapping[str, Any],
    task: str,
    format: str,
    sha256: str,
    experiment: Experiment | None = None,
) -> None:
    """Writes the model folder, with the format and the hash of the file that it was made of.

    Args:
        experiment: gives the level of the degradation, which no file says; None: it is not known but for the scale.
    Raises:
        UserError: if it can't be written.
    """
    about: dict[str, Any] = {"task": task, "imported": {"format": format, "sha256": sha256}}
    if experiment or architecture["scale"] > 1:
        about["level"] = experiment.level if experiment else architecture["scale"]
    try:
        save_model(out, network, architecture, about)
    except OSError as error:
        raise UserError(f"{out} can't be written ({error.strerror}): name another folder for the model.") from None
