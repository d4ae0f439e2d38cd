"""Measures the cost of a network: parameters, multiply-adds, memory, and receptive field."""

import copy
import math
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, UntypedStorage, nn
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from scn.networks import network_config
from scn.networks.base.layers import RestorationNetwork
from scn.networks.build import build, build_on_meta, fold

TALLEST = 4096
"""Largest receptive field in pixels that is measured, the height of the largest strip that is tried."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The cost of one network for one image."""

    params: int
    """Parameters while training, the gains of weight normalisation included; shared ones count once."""
    params_folded: int
    """Parameters in inference, weight normalisation folded into the weights."""
    macs: int
    """Multiply-adds of all convolutions in inference, for the whole image."""
    receptive_field: int | None
    """Side in pixels of the square of the input that a pixel of the output depends on; None: the whole image."""
    activation_bytes: int
    """Most bytes of features and images that are in memory at once in inference, float32."""
    training_bytes: int
    """Bytes that autograd keeps for the backward pass, float32."""


def profile(architecture: Mapping[str, Any], height: int, width: int) -> Profile:
    """Measures a network for one image of height x width pixels.

    Args:
        architecture: as for scn.networks.build.build.
    Raises:
        UserError: for an architecture that can't be built, or an image that the network does not take.
    """
    return Profile(
        params=_count(_on_meta(architecture)),
        params_folded=count_parameters(architecture),
        macs=count_macs(architecture, height, width),
        receptive_field=receptive_field(architecture),
        activation_bytes=activation_bytes(architecture, height, width),
        training_bytes=training_bytes(architecture, height, width),
    )


def count_parameters(architecture: Mapping[str, Any]) -> int:
    """Returns the number of parameters in inference, weight normalisation folded; nothing is computed.

    Args:
        architecture: as for scn.networks.build.build.
    Raises:
        UserError: for an architecture that can't be built.
    """
    return _count(fold(_on_meta(architecture)))


def count_macs(network: RestorationNetwork | Mapping[str, Any], height: int, width: int) -> int:
    """Multiply-adds of all convolutions for one image of height x width pixels, in inference.

    As the MS-Conv paper counts (section 4): resampling, additions, activations and normalisation are left out.
    Nothing is computed (PyTorch's meta device), so large images cost nothing.

    Args:
        network: the network, which stays as it is, or its architecture, as for scn.networks.build.build.
    Raises:
        UserError: for an architecture that can't be built, or an image that the network does not take.
    """
    network = copy.deepcopy(network).to("meta").eval() if isinstance(network, nn.Module) else _on_meta(network)
    with torch.no_grad(), _MultiplyAdds() as counted:
        network(_image(network, height, width))
    return counted.macs


def activation_bytes(
    architecture: Mapping[str, Any], height: int, width: int, device: Literal["meta", "cpu"] = "meta"
) -> int:
    """Most bytes of float32 that are in memory at once while one image of height x width pixels passes, in inference.

    Input and output count, parameters don't. Memory is followed from one of PyTorch's functions to the next: what a
    kernel needs for itself (the workspace of a convolution) comes on top, and on a CPU a network that works in bands of
    rows needs less. Other arguments and errors are those of `profile`.

    Args:
        device: where it passes: on "meta" nothing is computed; for a small image "cpu" is faster, as PyTorch loads its
            compiler before the first function on "meta".
    """
    network = _on_meta(architecture)
    fold(network)
    if device != "meta":  # any weights will do: drawn ones would move the global random state
        state = network.state_dict().items()
        zeros = {name: torch.zeros(like.shape, dtype=like.dtype, device=device) for name, like in state}
        network.load_state_dict(zeros, assign=True)
    with torch.no_grad(), _PeakMemory(_tensors(network)) as memory:
        network(_image(network, height, width))
    return memory.peak


def training_bytes(architecture: Mapping[str, Any], height: int, width: int) -> int:
    """Bytes of float32 that autograd keeps for the backward of one image of height x width pixels.

    Each piece of memory counts once; parameters, gradients and the optimizer's state don't. Arguments and errors are
    those of `profile`.
    """
    return sum(kept_for_backward(architecture, height, width))


def kept_for_backward(architecture: Mapping[str, Any], height: int, width: int) -> list[int]:
    """Bytes of each piece of memory that `training_bytes` adds up, in no order; its arguments and errors."""
    network = _on_meta(architecture).train()
    own = {tensor.untyped_storage() for tensor in _tensors(network)}
    kept: set[UntypedStorage] = set()

    def keep(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        network(_image(network, height, width))
        return [storage.nbytes() for storage in kept - own]


def receptive_field(architecture: Mapping[str, Any]) -> int | None:
    """Side in pixels of the square of the input that a pixel of the output depends on.

    It is measured the other way round: the number of rows of the output that the central pixel of a narrow strip
    reaches, over the scale, rounded up. That is the mean over the output's pixels, whose fields differ by their place
    relative to the pixels of the input and of a pyramid's scales. A row is reached if its derivative with respect to
    that pixel (forward mode, float64) is not 0. The network has few channels, weights are averages over what they read,
    biases are 0 and the image is positive, so that nothing cancels and no ReLU blocks; batch normalisation is in eval
    mode. The strip's height is doubled until neither end is reached; only the height is measured, as the networks treat
    both sides alike.

    Returns:
        None for a network that sees the whole image (by instance normalisation or global pooling, for example), or
        more than TALLEST pixels of it.
    Raises:
        UserError: for an architecture that can't be built.
    """
    network = build(_narrow(architecture), seed=0).eval().double()
    fold(network).requires_grad_(False)
    for name, parameter in network.named_parameters():
        parameter.fill_(_neutral(name, parameter))
    height = 64
    with _one_thread():
        while height <= TALLEST:
            rows = _rows_reached(network, height)
            if rows[0] > 0 and rows[-1] < height * network.scale - 1:
                return math.ceil(int(rows[-1] - rows[0] + 1) / network.scale)
            height *= 2
    return None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Lets PyTorch use one thread for many small operations, where threads wait longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _rows_reached(network: RestorationNetwork, height: int) -> Tensor:
    """The rows of the output that the central pixel of a strip reaches, ascending."""
    width = network.smallest
    shape = (1, network.channels, height, width)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 4 + 0.75
    direction = torch.zeros_like(image)
    direction[:, :, height // 2, width // 2] = 1
    with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch's own, raised by its forward mode
        output = network(forward_ad.make_dual(image, direction))
        derivative = forward_ad.unpack_dual(output).tangent
    return derivative.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0]


def _neutral(name: str, parameter: Tensor) -> float:
    if name.rpartition(".")[-1] == "bias":
        return 0
    return 1 if parameter.ndim < 2 else 1 / parameter[0].numel()


def _narrow(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """The network with few channels, which sees as far, for every channel reads every other."""
    own = {key: value for key, value in architecture.items() if key not in ("channels", "scale")}
    parameters = network_config(own, "The network").model_dump()
    # A pyramid pads the strip to its multiple, so it gets one channel only; others must halve theirs, some twice.
    # DIV2K's mean has three channels; what is subtracted changes nothing that is seen.
    few = {"units": 1 if "ratio" in parameters else 4, "width": 1, "alpha": 0.5, "mean": "half"}
    parameters |= {key: value for key, value in few.items() if key in parameters}
    return {**architecture, **parameters, "channels": 1}


class _MultiplyAdds(TorchFunctionMode):
    """Counts the multiply-adds of convolutions.

    What they and resampling return has the right shape and no more: on "meta", PyTorch's own way takes these apart into
    dozens of functions, and 15 times as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self._instead: Mapping[Any, Callable[..., Tensor]] = {
            F.conv2d: self._conv2d,
            F.conv_transpose2d: self._conv_transpose2d,
            F.interpolate: _resampled,
        }

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._instead.get(function, function)(*args, **(kwargs or {}))

    def _conv2d(
        self,
        x: Tensor,
        weight: Tensor,
        bias: object = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        steps = zip(x.shape[-2:], weight.shape[-2:], *map(_pair, (stride, padding, dilation)), strict=True)
        size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in steps]
        self.macs += len(x) * math.prod(size) * weight.numel()
        return x.new_empty(len(x), len(weight), *size)

    def _conv_transpose2d(
        self,
        x: Tensor,
        weight: Tensor,
        bias: object = None,
        stride: Any = 1,
        padding: Any = 0,
        more: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Tensor:
        steps = zip(x.shape[-2:], weight.shape[-2:], *map(_pair, (stride, padding, more, dilation)), strict=True)
        size = [(n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, m, d in steps]
        self.macs += len(x) * math.prod(x.shape[-2:]) * weight.numel()
        return x.new_empty(len(x), weight.shape[1] * groups, *size)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _resampled(x: Tensor, size: Any = None, scale_factor: float | None = None, **how: object) -> Tensor:
    height, width = _pair(size) if size else (math.floor(n * (scale_factor or 1)) for n in x.shape[-2:])
    return x.new_empty(*x.shape[:2], height, width)


class _PeakMemory(TorchFunctionMode):
    """Follows the memory of what PyTorch's functions return, from its first owner to its last."""

    def __init__(self, own: list[Tensor]) -> None:
        """Leaves the memory of `own` out."""
        super().__init__()
        self.peak = self._now = 0
        self._seen = weakref.WeakSet(tensor.untyped_storage() for tensor in own)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in (*_tensors_in(args), *_tensors_in(result)):
            self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: UntypedStorage) -> None:
        if storage not in self._seen:
            self._seen.add(storage)
            weakref.finalize(storage, self._release, storage.nbytes())
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)

    def _release(self, size: int) -> None:
        self._now -= size


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors_in(part)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _image(network: RestorationNetwork, height: int, width: int) -> Tensor:
    like = next(network.parameters())
    return torch.zeros(1, network.channels, height, width, dtype=like.dtype, device=like.device)


def _on_meta(architecture: Mapping[str, Any]) -> RestorationNetwork:
    """The network in eval mode, without numbers: on the meta device."""
    return build_on_meta(architecture).eval()
