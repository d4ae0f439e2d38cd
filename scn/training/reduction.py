"""Averages the gradients of all ranks: in buckets during the backward pass, or over lanes in one fixed tree."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 4 * 2**20
"""Bytes of gradients that are sent at once: large enough for a network's full rate, small enough to be sent early."""


class Buckets:
    """Averages gradients over ranks while the backward pass still computes others.

    The buckets are the same in every step, so a run that goes on from a checkpoint rounds its sums as one that was
    never stopped. (DistributedDataParallel makes others after its first step.)
    """

    def __init__(self, parameters: Iterable[nn.Parameter], world_size: int) -> None:
        """Divides the parameters, the last ones first, as their gradients come first."""
        self.world_size = world_size
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self.buckets = [_Bucket(part) for part in _divided(reversed(trained))]
        self.of = {parameter: bucket for bucket in self.buckets for parameter in bucket.parameters}
        self.open = False
        self.sent = 0
        for parameter in self.of:
            parameter.register_post_accumulate_grad_hook(self._came)

    def expect(self) -> None:
        """Sends every bucket as soon as the backward pass that comes next has computed its gradients."""
        self.open = True

    def average(self, numbers: Sequence[Tensor]) -> list[Tensor]:
        """Sends what has not been sent, and waits: the gradients then hold averages, in place.

        Args:
            numbers: scalars that are averaged as well.
        Returns:
            The averages of the numbers.
        """
        self.open = False
        while self.sent < len(self.buckets):
            self._send()
        told = torch.stack([*numbers])
        dist.all_reduce(told)
        for bucket in self.buckets:
            bucket.receive(self.world_size)
        self.sent = 0
        return list(told / self.world_size)

    def _came(self, parameter: nn.Parameter) -> None:
        if not self.open:
            return
        self.of[parameter].came += 1
        # In one order on every rank, whatever the order in which gradients come.
        while self.sent < len(self.buckets) and self.buckets[self.sent].complete:
            self._send()

    def _send(self) -> None:
        self.buckets[self.sent].send()
        self.sent += 1


class _Bucket:
    """Parameters whose gradients are sent together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.came = 0
        self.expected = len(parameters)
        """Gradients that come in a step: the last block of some networks leaves parameters without one."""
        self.gradients: list[Tensor] = []
        self.flat: Tensor | None = None
        self.work: Any = None

    @property
    def complete(self) -> bool:
        return self.came >= self.expected

    def send(self) -> None:
        self.gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.came, self.expected = 0, len(self.gradients)
        if self.gradients:
            self.flat = _packed([], self.gradients, like=self.flat)
            self.work = dist.all_reduce(self.flat, async_op=True)

    def receive(self, world_size: int) -> None:
        if self.flat is not None and self.gradients:
            self.work.wait()
            _unpack(self.flat.div_(world_size), 0, self.gradients)


class Lanes:
    """Averages gradients over the lanes of a batch (train.lanes), in one binary tree whatever the number of ranks.

    Neighbouring lanes are added, then neighbouring pairs, and so on. A rank has a part of the batch's lanes that is one
    branch of the tree, so any number of ranks gives the same bits; both numbers are powers of two.
    """

    def __init__(self, lanes: int, world_size: int) -> None:
        """`lanes` is the number of lanes of the whole batch."""
        self.lanes, self.world_size = lanes, world_size
        self.branches: list[tuple[int, Tensor]] = []
        """(Height, sum) of the complete branches of the tree so far, from left to right."""

    @property
    def own(self) -> int:
        """Number of lanes that each rank computes."""
        return self.lanes // self.world_size

    def add(self, numbers: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Adds the next lane of this rank: scalars and gradients, which are copied."""
        total = _packed(numbers, gradients, multiple=self.world_size)
        height = 0
        while self.branches and self.branches[-1][0] == height:
            total = self.branches.pop()[1].add_(total)
            height += 1
        self.branches.append((height, total))

    def average(self, count: int, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Writes the averages over all lanes into `gradients`; returns those of the `count` scalars."""
        ((_, total),) = self.branches
        self.branches = []
        if self.world_size > 1:
            total = _tree_sum(total, self.world_size)
        total /= self.lanes  # a power of two: exact
        _unpack(total, count, gradients)
        return list(total[:count])


def _tree_sum(flat: Tensor, world_size: int) -> Tensor:
    """Returns the sum over ranks, in the tree's order: each rank sums one part of all, then all get every part."""
    received = torch.empty_like(flat)
    dist.all_to_all_single(received, flat)
    rows = list(received.chunk(world_size))
    while len(rows) > 1:
        rows = [left.add_(right) for left, right in zip(rows[::2], rows[1::2], strict=True)]
    dist.all_gather(list(flat.chunk(world_size)), rows[0])
    return flat


def _divided(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Cuts parameters into runs of BUCKET_BYTES, or a little more."""
    parts: list[list[nn.Parameter]] = [[]]
    size = 0
    for parameter in parameters:
        if size >= BUCKET_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return parts


def _packed(
    numbers: Sequence[Tensor], gradients: Sequence[Tensor], *, multiple: int = 1, like: Tensor | None = None
) -> Tensor:
    """Returns scalars and gradients as one vector, filled up with zeros to a multiple.

    Args:
        like: vector to use again if it has the right length.
    """
    used = len(numbers) + sum(g.numel() for g in gradients)
    size = -(-used // multiple) * multiple
    flat = like if like is not None and len(like) == size else gradients[0].new_empty(size)
    flat[used:] = 0
    if numbers:
        torch.stack([*numbers], out=flat[: len(numbers)])
    torch._foreach_copy_(_views(flat, len(numbers), gradients), list(gradients))
    return flat


def _unpack(flat: Tensor, start: int, gradients: Sequence[Tensor]) -> None:
    torch._foreach_copy_(list(gradients), _views(flat, start, gradients))


def _views(flat: Tensor, start: int, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Parts of a vector from `start` on, in shape and layout of the gradients: copies are then straight."""
    views = []
    for gradient in gradients:
        views.append(flat.as_strided(gradient.size(), gradient.stride(), start))
        start += gradient.numel()
    return views
