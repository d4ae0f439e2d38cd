"""Imports checkpoints of other projects as model folders, so that published weights are measured as ours are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.core.schema import unknown
from scn.networks import network_config
from scn.networks.build import build
from scn.registry import authors, matconvnet
from scn.registry.checkpoint_files import (
    Refusal,
    check_free,
    check_task,
    read_bytes,
    read_state,
    task_of,
    write_model,
)
from scn.registry.layouts import LAYOUTS, Imported, Layout, Weights

FORMATS = (authors.FORMAT, *(layout.name for layout in LAYOUTS), matconvnet.FORMAT)
"""Names of the formats that `import_model` reads."""


def import_model(
    file: Path,
    out: Path,
    *,
    format: str | None = None,
    task: str | None = None,
    scales: int | None = None,
    scale: int | None = None,
    experiment: Experiment | None = None,
) -> dict[str, Any]:
    """Writes a checkpoint of another project as a model folder, for `scn.load`, `scn restore` and `scn evaluate`.

    Args:
        file: a state dict as torch.save writes it, or a MATLAB file; code in it is never run.
        out: the folder, which must not hold anything yet.
        format: one of FORMATS; None: it is recognised by its keys.
        task: sr, dn or car; None: the only one that fits the network, which there is if it enlarges.
        scales: number of scales of the pyramid of SCN's authors' networks, which the file does not say.
        scale: upscaling factor of SRCNN, which the file does not say.
        experiment: what the model is measured as: gives task, level and scale; None: the level is not known.
    Returns:
        the architecture, as in the folder's config.json.
    Raises:
        UserError: if the file is no such checkpoint, or a part of it is missing, of another shape, not float32 or not
            finite; if something that it does not say is missing, or task or experiment do not fit; if `out` holds
            something or can't be written.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"{unknown(format, FORMATS, 'format of checkpoints')}.")
    check_task(task, experiment)
    if experiment and scale is None:
        scale = experiment.scale
    check_free(out)

    def refusal(why: str) -> UserError:
        what = f"of the format {format}" if format else f"that can be imported, which are {', '.join(FORMATS)}"
        return UserError(f"{file} is no checkpoint {what} ({why}): name another one.")

    if format == authors.FORMAT:
        return _scn(file, out, task, scales, experiment)
    if format == matconvnet.FORMAT or (format is None and matconvnet.is_mat(read_bytes(file))):
        imported, sha256 = matconvnet.read(file, refusal)
        return _write(file, out, task, imported, sha256, matconvnet.FORMAT, refusal, experiment)
    state, sha256 = read_state(file, refusal)
    layout = _layout(state, format, refusal)
    if layout is None:
        return _scn(file, out, task, scales, experiment)
    if layout.asks_scale and scale is None:
        raise UserError(f"{file} does not say by what factor {layout.title} enlarges: add --scale.")
    weights = Weights(state, refusal)
    imported = layout.convert(weights, scale)
    if weights.left:
        raise refusal(f"'{min(weights.left)}' is unexpected")
    return _write(file, out, task, imported, sha256, layout.name, refusal, experiment)


def _scn(file: Path, out: Path, task: str | None, scales: int | None, experiment: Experiment | None) -> dict[str, Any]:
    if scales is None:
        raise UserError(f"{file} does not say how many scales the pyramid of SCN has: add --scales.")
    return authors.import_scn(file, out, scales=scales, task=task, experiment=experiment)


def _layout(state: Mapping[str, Tensor], format: str | None, refusal: Refusal) -> Layout | None:
    """The layout of a state dict; None for that of SCN's authors."""
    if format is not None:
        return next(layout for layout in LAYOUTS if layout.name == format)
    if any(key.startswith("body.2.body.0.") for key in state) and "head.0.weight" not in state:
        return None
    for layout in LAYOUTS:
        if all(mark in state for mark in layout.marks):
            return layout
    raise refusal(f"its first key is '{min(state)}'")


def _write(
    file: Path,
    out: Path,
    task: str | None,
    imported: Imported,
    sha256: str,
    format: str,
    refusal: Refusal,
    experiment: Experiment | None,
) -> dict[str, Any]:
    described, state = imported
    channels, scale = described.pop("channels"), described.pop("scale")
    architecture = {**network_config(described, file).model_dump(), "channels": channels, "scale": scale}
    if channels not in (1, 3):
        raise refusal(f"a network has 1 or 3 channels, not {channels}")
    task = task_of(architecture, task, file, experiment)
    with torch.device("meta"):  # whatever the file claims, nothing is allocated before the shapes agree
        expected = {key: tensor.shape for key, tensor in build(architecture).state_dict().items()}
    for key in sorted({*state, *expected}):
        if key not in state or key not in expected or state[key].shape != expected[key]:
            raise refusal(f"its tensors are not those of one network: as '{key}' none fits")
        if not state[key].isfinite().all():
            raise refusal(f"as '{key}' come values that are not finite")
    network = build(architecture)
    network.load_state_dict(state)
    write_model(out, network, architecture, task, format, sha256, experiment)
    return architecture
