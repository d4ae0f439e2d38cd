"""Reads DnCNN from files of MatConvNet, the toolbox of MATLAB in which its authors trained it."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scn.core import memory
from scn.registry.checkpoint_files import Refusal, read_bytes
from scn.registry.layouts import Imported, chain, normalised

FORMAT = "matconvnet-dncnn"
"""Name of the format."""
_HEADER, _COMPRESSED = 128, 15
"""Bytes before the first element of a file, and the number that says that one is deflated."""
_RATIO, _SMALL, _CHUNK = 20, 2**26, 2**20
"""Weights hardly shrink: to so many bytes for each packed one a file may unpack, or to so many in all."""


def is_mat(data: bytes) -> bool:
    """True for the content of a MATLAB file."""
    return data.startswith(b"MATLAB ")


def read(file: Path, refusal: Refusal) -> tuple[Imported, str]:
    """DnCNN in the variable `net`, a chain of layers (SimpleNN), and the file's SHA-256.

    Layers are `conv`, `relu`, `bnorm`, which is folded into the convolution before it, and a loss at the end. Filters
    are (K, K, C, U), the moments of `bnorm` mean and deviation.

    Raises:
        UserError: as `refusal` words it, for anything else.
    """
    from scipy.io import loadmat

    data = read_bytes(file)
    if not is_mat(data):
        raise refusal("it is no MATLAB file")
    if data.startswith(b"MATLAB 7.3"):
        raise refusal("it is of MATLAB's version 7.3: save it in MATLAB with -v7")
    if (unpacked := _unpacked_bytes(data, most := max(_SMALL, _RATIO * len(data)))) > most:
        raise refusal(f"it unpacks to more than {most / 2**20:.0f} MiB, which no weights of its size do")
    what = f"{file} unpacks to {unpacked / 2**20:.0f} MiB"
    memory.require(3 * unpacked, what, "import it on a machine that has more")  # as bytes, values and float32
    try:
        content = loadmat(io.BytesIO(data), variable_names=["net"], squeeze_me=True, struct_as_record=False)
        layers = np.atleast_1d(content["net"].layers)
    except Exception as error:  # whatever SciPy's reader meets in the bytes of a stranger
        raise refusal(f"it has no 'net' with layers that can be read: {type(error).__name__}") from None
    found: list[tuple[Tensor, Tensor]] = []
    for number, layer in enumerate(layers):
        kind, name = str(getattr(layer, "type", "")), f"layer {number + 1}"
        if kind == "conv":
            found.append(_convolution(layer, name, refusal))
        elif kind == "bnorm" and found:
            found[-1] = _folded(found[-1], layer, name, refusal)
        elif kind != "relu" and not (kind == "loss" and number == len(layers) - 1):
            raise refusal(f"{name} is of type '{kind}'")
    if len(found) < 2:
        raise refusal("it has fewer than 2 convolutions")
    return (chain(found, refusal), hashlib.sha256(data).hexdigest())


def _unpacked_bytes(data: bytes, most: int) -> int:
    """The bytes of a file of version 5 with its elements unpacked, of which nothing is kept; a number > `most` if more.

    Where it is damaged counting ends: SciPy reads no further either.
    """
    order = "<" if data[126:128] == b"IM" else ">"
    total, at = len(data), _HEADER
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        at += 8
        if kind == _COMPRESSED:
            inflate = zlib.decompressobj()
            left = data[at : at + size]
            try:
                while left and not inflate.eof and total <= most:
                    total += len(inflate.decompress(left, _CHUNK))
                    left = inflate.unconsumed_tail
            except zlib.error:
                return total
        at += size
        if total > most:
            break
    return total


def _convolution(layer: Any, name: str, refusal: Refusal) -> tuple[Tensor, Tensor]:
    filters, biases = _weights(layer, name, 2, refusal)
    if any(np.any(np.asarray(getattr(layer, key, usual)) != usual) for key, usual in (("stride", 1), ("dilate", 1))):
        raise refusal(f"{name} has a stride or a dilation")
    count = biases.size
    # SciPy's squeeze takes away the channel of the first layer's filters, or that of the last layer's.
    if filters.ndim < 2 or not (count and filters.size) or filters.size % (count * filters.shape[0] * filters.shape[1]):
        raise refusal(f"{name} has filters of shape {filters.shape} and {count} biases")
    shape = (*filters.shape[:2], -1, count)
    weight = np.ascontiguousarray(filters.reshape(shape).transpose(3, 2, 0, 1))
    return torch.from_numpy(weight), torch.from_numpy(biases.reshape(-1))


def _folded(layer: tuple[Tensor, Tensor], norm: Any, name: str, refusal: Refusal) -> tuple[Tensor, Tensor]:
    arrays = _weights(norm, name, 3, refusal)
    count = len(layer[1])
    if [array.size for array in arrays] != [count, count, 2 * count]:
        raise refusal(f"{name} does not normalise {count} channels")
    gain, shift, moments = (torch.from_numpy(array) for array in arrays)
    mean, deviation = moments.reshape(count, 2).unbind(1)
    folded: tuple[Tensor, Tensor] = normalised(layer, gain.reshape(-1), shift.reshape(-1), mean, deviation)
    return folded


def _weights(layer: Any, name: str, count: int, refusal: Refusal) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    weights = getattr(layer, "weights", None)
    if weights is None and count == 2:  # of older versions
        weights = [getattr(layer, key, None) for key in ("filters", "biases")]
    arrays = [np.asarray(each) for each in np.atleast_1d(weights)] if weights is not None else []
    arrays = [np.atleast_1d(array) for array in arrays]
    if len(arrays) != count or any(array.dtype not in (np.float32, np.float64) for array in arrays):
        raise refusal(f"{name} has no {count} arrays of weights")
    converted = [array.astype(np.float32) for array in arrays]
    if not all(np.isfinite(array).all() for array in converted):
        raise refusal(f"{name} has values that are not finite")
    return converted
