"""Several photographs' images in one batch."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("ray.serve", reason="Ray Serve is not installed: `pip install 'scn[serve]'` does that")

from scn.serving import replica
from scn.serving.replica import Ended, Pass, Replica, in_batches


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


class Doubled:
    """Stands for Models, for its only model and for Restorer: what it restores is a number, twice as large then."""

    def __init__(self, models: Any = None) -> None:
        self.network, self.rates, self.loaded = Network(), dict[str, float](), {"doubled": self}
        self.applied: Callable[[Tensor], Tensor] = models.applied if models else self.network

    def apply_through(self, function: Callable[[Tensor], Tensor]) -> None:
        self.applied = function

    def restore(self, data: bytes, wanted: object, progress: Callable[[float], None]) -> float:
        progress(0.5)
        return self.applied(torch.full((1, 1, 4, 4), float(data[0]))).mean().item()


def test_those_who_wait_for_a_batch_do_not_take_the_thread_that_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Serve's loop has fewer threads than a replica restores photographs at a time."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(replica, "Restorer", Doubled)
    asked = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=replica.TOGETHER))
    monkeypatch.setattr("ray.serve.get_replica_context", lambda: asked)  # batches are checked against it
    models = Doubled()
    packed: Any = SimpleNamespace(unpack=lambda: models)

    async def restored(here: Replica, number: int) -> object:
        wanted: Any = None
        *_, last = [event async for event in here.restore(bytes([number]), wanted, "key", packed)]
        assert isinstance(last, Ended)
        return last.result

    async def all_at_once() -> list[object]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        here = Replica(threads, replica.TOGETHER, {})
        return await asyncio.wait_for(asyncio.gather(*(restored(here, n) for n in range(replica.TOGETHER))), 20)

    assert asyncio.run(all_at_once()) == [2.0 * n for n in range(replica.TOGETHER)]
    assert len(models.network.seen) < replica.TOGETHER  # there were batches
