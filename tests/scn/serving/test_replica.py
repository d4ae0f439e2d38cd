"""Several photographs' images in one batch."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("ray.serve", reason="Ray Serve is not installed: `pip install 'scn[serve]'` does that")

from scn.serving.replica import Pass, in_batches


class Network(nn.Module):
    """Doubles an image; it keeps what it was given."""

    def __init__(self, most: int = 8) -> None:
        super().__init__()
        self.most, self.seen, self.precisions = most, list[tuple[int, ...]](), list[bool]()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(tuple(images.shape))
        self.precisions.append(torch.is_autocast_enabled("cpu"))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return images * 2


def passes(network: nn.Module, shapes: Sequence[tuple[int, ...]]) -> list[Pass]:
    return [
        Pass(network=network, images=torch.full(shape, number + 1.0), precision="float32")
        for number, shape in enumerate(shapes)
    ]


def test_images_of_one_size_are_one_batch_and_each_gets_its_own() -> None:
    network = Network()
    asked = passes(network, [(1, 3, 8, 9), (1, 3, 9, 8), (2, 3, 8, 9)])
    found = in_batches(asked)
    assert sorted(network.seen) == [(1, 3, 9, 8), (3, 3, 8, 9)]
    for one, result in zip(asked, found, strict=True):
        assert isinstance(result, Tensor)
        assert torch.equal(result, one.images * 2)


def test_networks_and_precisions_are_not_mixed() -> None:
    first, second = Network(), Network()
    asked = [*passes(first, [(1, 1, 8, 8)] * 2), *passes(second, [(1, 1, 8, 8)])]
    asked.append(Pass(network=first, images=torch.ones(1, 1, 8, 8), precision="bfloat16"))
    in_batches(asked)
    assert (len(first.seen), len(second.seen)) == (2, 1)
    assert first.seen[0] == (2, 1, 8, 8)
    assert first.precisions[0] is False


def test_where_memory_runs_out_each_is_computed_alone() -> None:
    network = Network(most=1)
    asked = passes(network, [(1, 1, 8, 8)] * 3)
    for one, result in zip(asked, in_batches(asked), strict=True):
        assert isinstance(result, Tensor)
        assert torch.equal(result, one.images * 2)
    assert [shape[0] for shape in network.seen] == [3, 1, 1, 1]


def test_an_error_is_given_to_those_whom_it_concerns() -> None:
    network = Network(most=1)
    wrong, right = in_batches([*passes(network, [(2, 1, 8, 8)]), *passes(network, [(1, 1, 9, 9)])])
    assert isinstance(wrong, torch.OutOfMemoryError)
    assert isinstance(right, Tensor)
