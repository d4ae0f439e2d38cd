"""A convolution whose weight gradient is computed by matrix products where PyTorch's own is slower (AVX2).

docs/decisions/0009-a-weight-gradient-of-our-own-on-avx2.md has the figures.

Shapes: N batch, C channels of the input, U of the output, H W height and width, K kernel.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEWEST = 16
"""Fewest input or output channels for matrix products; with fewer, the products are too small to gain anything."""


class Convolution(nn.Conv2d):
    """An nn.Conv2d of stride 1 that keeps height and width: (N, C, H, W) -> (N, U, H, W).

    The result is nn.Conv2d's, bit for bit; the weight's gradient differs by the rounding of float32.

    Attributes:
        made: within scn.networks.base.weights.made_once, the normalised weight that all calls of one forward pass read,
            by its type; None: every call makes it again.

    Args:
        inputs, outputs: channels C and U.
        kernel: side K of the kernel, odd.
    """

    made: dict[torch.dtype, Tensor] | None = None

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        made = self.made  # read once: another thread's pass through the same network may end meanwhile
        weight = self.weight if made is None else self._once(made)
        if self.kernel_size[0] > 1 and min(weight.shape[:2]) >= FEWEST and weight.requires_grad and _gains(input):
            result: Tensor = _ByProducts.apply(input, weight, self.bias)
            return result
        return F.conv2d(input, weight, self.bias, padding=self.padding)

    def _once(self, made: dict[torch.dtype, Tensor]) -> Tensor:
        direction: Tensor = self.parametrizations.weight.original1  # type: ignore[union-attr, assignment]
        dtype, device = direction.dtype, direction.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        if dtype not in made:
            last = direction.is_contiguous(memory_format=torch.channels_last)  # the layout of the network
            layout = torch.channels_last if last else torch.contiguous_format
            made[dtype] = self.weight.to(dtype, memory_format=layout)
        return made[dtype]


def _gains(input: Tensor) -> bool:
    """True in training in float32 on AVX2, where PyTorch's weight gradients reach a third of the possible rate."""
    return (
        torch.is_grad_enabled()
        and input.device.type == "cpu"
        and input.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


class _ByProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return F.conv2d(input, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        of_input = of_bias = None
        if ctx.needs_input_grad[0]:
            padding = [weight.shape[-1] // 2] * 2
            of_input = torch.ops.aten.convolution_backward(
                gradient, input, weight, None, [1, 1], padding, [1, 1], False, [0, 0], 1, [True, False, False]
            )[0]
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        of_weight = weight_gradient(input, gradient, weight.shape[-1]) if ctx.needs_input_grad[1] else None
        return of_input, of_weight, of_bias


def weight_gradient(input: Tensor, gradient: Tensor, kernel: int) -> Tensor:
    """Gradient of a convolution's weight: input (N, C, H, W), gradient of the output (N, U, H, W) -> (U, C, K, K).

    For each row of the kernel, the sum over pixels of gradient times shifted input is one matrix product: K
    neighbouring pixels of the tensor with fewer channels form a row of one matrix, and the other tensor is read as it
    lies in memory. Images are taken one by one, so that the rows stay in the cache. If the gradient has fewer channels
    than the input, the gradient is shifted instead, in the opposite direction.

    Args:
        kernel: side K of the kernel.
    """
    swapped = input.shape[1] > gradient.shape[1]
    narrow, wide = (x.permute(0, 2, 3, 1) for x in ((gradient, input) if swapped else (input, gradient)))
    images, height, width, channels = narrow.shape
    border = kernel // 2
    padded = F.pad(narrow, (0, 0, border, border, border, border))
    strides = padded.stride()
    rows = padded.as_strided((images, height + 2 * border, width, kernel, channels), (*strides[:3], *strides[2:]))
    columns = wide.reshape(images, height * width, -1)
    total = input.new_zeros(kernel, kernel * channels, columns.shape[-1])
    for image in range(images):
        pixels = rows[image].reshape(-1, kernel * channels)
        for k in range(kernel):
            total[k].addmm_(pixels[k * width : (k + height) * width].T, columns[image])
    total = total.view(kernel, kernel, channels, -1)
    return total.flip(0, 1).permute(2, 3, 0, 1) if swapped else total.permute(3, 2, 0, 1)
