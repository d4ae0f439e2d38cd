"""A network applied to images in host memory: layout, precision and result."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scn.inference.apply import apply, device_of, prepare

CPU = torch.device("cpu")


def test_layouts_are_turned_there_and_back() -> None:
    images = np.random.default_rng(0).random((2, 5, 7, 3), dtype=np.float32)

    def check(x: Tensor) -> Tensor:
        assert x.shape == (2, 3, 5, 7)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert torch.is_inference_mode_enabled()
        return x[:, :1] * 2

    result = apply(check, images, CPU)
    np.testing.assert_array_equal(result, images[..., :1] * 2)
    assert result.flags.c_contiguous


def test_precision_is_that_of_the_convolutions_and_the_result_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.inference.precision.has_bfloat16", lambda device: True)
    network = prepare(torch.nn.Conv2d(1, 1, 3))
    seen: list[torch.dtype] = []

    def record(x: Tensor) -> Tensor:
        y: Tensor = network(x)
        seen.append(y.dtype)
        return y

    images = np.ones((1, 6, 6, 1), np.float32)
    for precision in ("float32", "bfloat16"):
        assert apply(record, images, device_of(network), precision).dtype == np.float32  # type: ignore[arg-type]
    assert seen == [torch.float32, torch.bfloat16]


def test_prepare_is_for_inference() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Dropout())
    assert prepare(network) is network
    assert not network[1].training
    assert device_of(torch.nn.Identity()) == CPU
