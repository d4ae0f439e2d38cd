"""Exports a network to ONNX, for images of any size, and compares what onnxruntime computes with it."""

import logging
import operator
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.inference.precision import autocast
from scn.networks.base.layers import RestorationNetwork

INPUT, OUTPUT = "image", "restored"
"""Names of the graph's input and output, float32 (N, C, H, W) and (N, C, sH, sW), both in [0, 1]."""
SHORTEST = 8
"""Shortest side, in pixels, of an image that the graph is made for."""
TOLERANCE = 1e-5
"""How far a value of onnxruntime's may be from PyTorch's, where float32 is as precise as that."""
CHECKED = ((1, 16, 24), (2, 41, 53), (1, 17, 64), (1, 80, 96), (1, 101, 38))
"""The batches (N, H, W) that are compared: smaller and larger than EXAMPLE, multiples of 8 and not."""

_EXAMPLE = (2, 41, 53)
"""The batch that the graph is made of. Its sides are primes, so that no network finds them to be multiples already: it
then pads, by amounts that stay symbols; where it does not, that is frozen for all sizes."""
_OPSET = 18


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An ONNX file that was written."""

    file: Path
    difference: float | None
    """The largest difference between onnxruntime's values and PyTorch's; None: onnxruntime is not installed."""


def export_onnx(network: RestorationNetwork, about: Mapping[str, object], file: Path) -> Exported:
    """Writes a network as one ONNX file, for batches of any size, height and width; compares it in onnxruntime.

    Args:
        network: in float32; the graph computes it with its result clipped to [0, 1], in float32.
        about: the file's metadata; its `network` names the network in errors.
        file: where a UserError is raised, it stays as it was.
    Raises:
        UserError: if packages are missing, the network was converted to another type than float32 or can't be
            exported, onnxruntime's values differ by more than TOLERANCE and than float32 rounds, or the file can't be
            written.
    """
    if not find_spec("onnx") or not find_spec("onnxscript"):
        raise UserError("An export needs the packages onnx and onnxscript: install them with pip install 'scn[onnx]'.")
    if any(parameter.dtype != torch.float32 for parameter in network.parameters()):
        raise UserError("The model was converted from float32, and exported it would stay rounded: load it again.")
    with autocast(torch.device("cpu"), "float32"):  # a caller's would become part of the graph
        difference, data = _compared(network, about)
    try:
        write_atomically(file, data)
    except OSError as error:
        raise UserError(f"{file} can't be written ({error.strerror}): name another file.") from None
    return Exported(file=file, difference=difference)


def _compared(network: RestorationNetwork, about: Mapping[str, object]) -> tuple[float | None, bytes]:
    """The file's content, and the largest difference in onnxruntime; raises UserError as export_onnx."""
    exported, refusal = _OnCpu(network), f"The network {about['network']} can't be exported for images of any size"
    try:
        proto = _graph(exported, network.channels)
    except Exception as error:  # whatever the exporter meets in a network
        raise UserError(f"{refusal} ({_first_cause(error)}): take a model of another network.") from None
    data = _with_metadata(proto, about)
    difference, agrees = _compare(exported, data, network.channels) if find_spec("onnxruntime") else (None, True)
    if not agrees:
        raise UserError(f"{refusal} (onnxruntime's values are off by {difference:g}): take a model of another network.")
    return difference, data


class _OnCpu(nn.Module):
    """A copy of a network with its result clipped, as the handle does: (N, C, H, W) -> (N, C, sH, sW)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        restored: Tensor = self.network(image)
        return restored.clamp(0, 1)


def _graph(network: nn.Module, channels: int) -> Any:
    count, height, width = _EXAMPLE
    dim = torch.export.Dim
    sides = {2: dim("height", min=SHORTEST), 3: dim("width", min=SHORTEST)}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about its own code
        logger.setLevel(logging.ERROR)  # it tells that torchvision is not installed
        program = torch.onnx.export(
            network.eval(),
            (torch.zeros(count, channels, height, width),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: dim("batch"), **sides},),
            opset_version=_OPSET,
            custom_translation_table=_exact_sizes(),
        )
        logger.setLevel(level)
    assert program is not None
    return program.model_proto


def _exact_sizes() -> dict[Any, Any]:
    """The operators of Python's arithmetic with sizes, where the exporter's own give another size, or there are none.

    Its floor division rounds towards zero, so that -(-side // 2) is too small for an odd side; its product of a size
    and a ratio is in float32; it can't round.
    """
    from onnxscript import ir
    from onnxscript import opset18 as op

    def floor_divided(side: Any, by: Any) -> Any:
        return op.Div(op.Sub(side, op.Mod(side, by)), by)  # Mod has the divisor's sign, as Python's

    def rounded(size: Any, digits: None = None) -> Any:  # the graph gives both
        return op.Cast(op.Round(size), to=ir.DataType.INT64)  # ties to even, as Python's

    def as_float(size: Any) -> Any:
        return op.Cast(size, to=ir.DataType.DOUBLE)

    def multiplied(one: Any, other: Any) -> Any:
        return op.Mul(*(constant(each) if isinstance(each, float) else each for each in (one, other)))

    def constant(ratio: float) -> Any:
        value: Any = ir.tensor(ratio, dtype=ir.DataType.DOUBLE)  # the stubs of op know protocol buffers only
        return op.Constant(value=value)

    return {operator.floordiv: floor_divided, operator.mul: multiplied, round: rounded, torch.sym_float: as_float}


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _with_metadata(proto: Any, about: Mapping[str, object]) -> bytes:
    """The file's content, without the exporter's notes, which name files and lines of this machine."""
    import onnx

    graph = proto.graph
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output, graph):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.helper.set_model_props(proto, {key: str(value) for key, value in about.items()})
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _compare(network: nn.Module, data: bytes, channels: int) -> tuple[float, bool]:
    """The largest difference on batches of noise, CHECKED, and whether all are rounding.

    The difference is infinite where a result has another shape, or there is none.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    noise = torch.Generator().manual_seed(0)
    largest, agrees = 0.0, True
    for count, height, width in CHECKED:
        images = torch.rand(count, channels, height, width, generator=noise)
        with torch.inference_mode():
            expected = network(images)
        try:
            found = torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])
        except Exception:  # onnxruntime's, where a size was frozen
            return float("inf"), False
        if found.shape != expected.shape:
            return float("inf"), False
        difference = (found - expected).abs().max().item()
        agrees &= difference <= TOLERANCE or difference <= 2 * _rounding(network, images, expected)
        largest = max(largest, difference)
    return largest, agrees


def _rounding(network: nn.Module, images: Tensor, expected: Tensor) -> float:
    """How far a result in float32 is from that in float64; onnxruntime, which sums in another order, is as far."""
    with torch.inference_mode():
        return (deepcopy(network).double()(images.double()) - expected).abs().max().item()
