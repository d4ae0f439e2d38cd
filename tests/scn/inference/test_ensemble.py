"""Self-ensemble is the mean over the 8 symmetries of the square, each turned back."""

import pytest
import torch
from torch import Tensor

from scn.inference.ensemble import TOGETHER, self_ensemble


def double(x: Tensor) -> Tensor:
    """Enlarges by 2; its result turns and flips with its input."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_an_equivariant_function_is_left_alone() -> None:
    x = torch.rand(2, 3, 5, 8)
    torch.testing.assert_close(self_ensemble(double, x), double(x), rtol=0, atol=1e-6)


def test_the_mean_over_all_eight_for_a_function_of_place() -> None:
    x = torch.rand(1, 1, 4, 6)

    def ramp(image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        return image + torch.arange(height * width).reshape(height, width) ** 2 / 100

    expected = torch.zeros(1, 1, 4, 6)
    for flip in (False, True):
        for turns in range(4):
            turned = torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))
            back = torch.rot90(ramp(turned), -turns, (-2, -1))
            expected += (back.flip(-1) if flip else back) / 8
    torch.testing.assert_close(self_ensemble(ramp, x), expected, rtol=0, atol=1e-5)


def test_eight_different_views_go_in() -> None:
    views = []

    def record(image: Tensor) -> Tensor:
        views.extend(image.split(1))
        return image

    self_ensemble(record, torch.rand(1, 1, 3, 5))
    assert sorted(tuple(view.shape[-2:]) for view in views) == [(3, 5)] * 4 + [(5, 3)] * 4
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8


def test_low_precision_is_averaged_in_float32() -> None:
    x = torch.rand(1, 1, 8, 8)
    y = self_ensemble(lambda image: image.bfloat16(), x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, x.bfloat16().float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "batches"),
    [(8, 12, [4, 4]), (TOGETHER // 2**9, 2**7, [4, 4]), (TOGETHER // 2**9 + 1, 2**7, [2] * 4), (513, 512, [1] * 8)],
)
def test_small_images_go_through_the_model_together_on_an_accelerator(
    height: int, width: int, batches: list[int]
) -> None:
    sizes = []

    def record(image: Tensor) -> Tensor:
        sizes.append(len(image))
        return image

    x = torch.empty(1, 1, height, width, device="meta")  # not a CPU, and computes nothing
    assert self_ensemble(record, x).shape == x.shape
    assert sizes == batches
    sizes.clear()
    self_ensemble(record, torch.rand(1, 1, 8, 12))
    assert sizes == [1] * 8
