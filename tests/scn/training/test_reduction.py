"""Gradients of several ranks: what they average to, bit for bit, and when they are sent."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from scn.training import reduction
from scn.training.reduction import Buckets, Lanes

SHAPES = [(3,), (2, 3), (4, 2, 3, 3), (5,)]


def gradients(lane: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(lane)
    made = [torch.randn(shape, generator=draw) * 10 ** (lane % 3) for shape in SHAPES]
    return [g.contiguous(memory_format=torch.channels_last) if g.dim() == 4 else g for g in made]


def branch(lanes: range) -> list[Tensor]:
    """The sum over a branch of the tree, as the definition says it."""
    if len(lanes) == 1:
        return gradients(lanes[0])
    half = len(lanes) // 2
    return [a + b for a, b in zip(branch(lanes[:half]), branch(lanes[half:]), strict=True)]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_lanes_are_summed_in_a_binary_tree(count: int) -> None:
    lanes = Lanes(count, world_size=1)
    for lane in range(count):
        lanes.add([torch.tensor(float(lane))], gradients(lane))
    found = gradients(99)
    (mean,) = lanes.average(1, found)
    assert mean.item() == (count - 1) / 2
    assert all(torch.equal(f, s / count) for f, s in zip(found, branch(range(count)), strict=True))
    if count == 8:  # where the order of a sum matters
        one_by_one = [sum(parts[1:], parts[0]) for parts in zip(*map(gradients, range(8)), strict=True)]
        assert not all(torch.equal(f, s / 8) for f, s in zip(found, one_by_one, strict=True))


class Layers(nn.Module):
    """Two layers, and a third that is not used."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.unused = nn.Linear(4, 4), nn.Linear(4, 1), nn.Linear(4, 4)
        self.fixed = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())  # type: ignore[no-any-return]


def of_network(network: nn.Module) -> list[Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None]


def rank(number: int, world_size: int, folder: str) -> None:
    """One of the processes of the test below; writes what it finds."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=world_size)
    found: dict[str, Any] = {}
    for count in (4, 8):
        lanes = Lanes(count, world_size)
        for lane in range(number * lanes.own, (number + 1) * lanes.own):
            lanes.add([torch.tensor(float(lane))], gradients(lane))
        found[f"lanes {count}"] = [*lanes.average(1, averages := gradients(99)), *averages]

    reduction.BUCKET_BYTES = 32
    network = Layers()
    buckets = Buckets(network.parameters(), world_size)
    early = []
    for _ in range(2):
        network.zero_grad()
        loss = network(torch.full((2, 4), number + 1.0)).square().mean()
        buckets.expect()
        loss.backward()
        early.append(buckets.sent)
        (mean,) = buckets.average([loss.detach()])
    found["buckets"] = [mean, *of_network(network)]
    found["early"] = early, len(buckets.buckets)
    torch.save(found, f"{folder}/{number}.pt")
    dist.destroy_process_group()


def test_four_ranks_average_as_one_does(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank, (4, str(tmp_path)), nprocs=4)  # type: ignore[no-untyped-call]
    found = [torch.load(tmp_path / f"{number}.pt") for number in range(4)]

    for count in (4, 8):
        expected = [torch.tensor((count - 1) / 2), *(s / count for s in branch(range(count)))]
        for of_rank in found:
            assert all(torch.equal(f, e) for f, e in zip(of_rank[f"lanes {count}"], expected, strict=True))

    network = Layers()
    losses = [network(torch.full((2, 4), number + 1.0)).square().mean() for number in range(4)]
    (sum(losses[1:], losses[0]) / 4).backward()
    expected = [torch.stack(losses).mean().detach(), *of_network(network)]
    for of_rank in found:
        for mine, theirs in zip(of_rank["buckets"], expected, strict=True):
            torch.testing.assert_close(mine, theirs)
        (first, later), buckets = of_rank["early"]
        assert first == 0  # it is not known yet that the unused layer, the first to be sent, has no gradients
        assert later == buckets > 2  # all are sent before the backward pass has ended
