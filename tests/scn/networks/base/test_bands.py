"""Convolutions in bands of rows have the values of convolutions of the whole."""

import pytest
import torch

from scn.networks.base import bands
from scn.networks.base.layers import conv


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize(("n", "height"), [(1, 40), (2, 16), (1, 17), (1, 1), (3, 9)])
def test_bands_equal_the_whole(
    monkeypatch: pytest.MonkeyPatch, layout: torch.memory_format, weight_norm: bool, n: int, height: int
) -> None:
    monkeypatch.setattr(bands, "BAND_BYTES", 0)  # the fewest rows, 8
    torch.manual_seed(0)
    first, second = conv(3, 12, 3, weight_norm=weight_norm), conv(12, 5, 3, weight_norm=weight_norm)
    x = torch.randn(n, 3, height, 7).to(memory_format=layout)
    expected = second(torch.relu(first(x)))
    torch.testing.assert_close(bands.in_bands(first, second, x), expected)  # with gradients: the whole
    with torch.no_grad():
        torch.testing.assert_close(bands.in_bands(first, second, x), expected, atol=1e-6, rtol=1e-6)


def test_the_wide_tensor_is_never_there_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND_BYTES", 10 * 12 * 7 * 4)
    first, second, heights = conv(3, 12, 3), conv(12, 5, 3), list[int]()
    first.register_forward_hook(lambda module, inputs, output: heights.append(output.shape[-2]))
    with torch.no_grad():
        bands.in_bands(first, second, torch.rand(1, 3, 40, 7))
    assert heights == [12, 14, 14, 12]
