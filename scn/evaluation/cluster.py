"""Measuring on a Ray cluster: a Ray Data pipeline of actors that hold the networks and read the images themselves.

The rows that go in are the numbers of images, and those that come out their figures: an image is in the memory of the
actor that measures it and nowhere else, unless its pictures are asked for (docs/decisions/0018).
"""

import socket
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from scn.core.errors import UserError
from scn.core.nodes import common, refusal
from scn.core.ray import start_ray
from scn.core.ray_data import actors_for, map_in_actors
from scn.evaluation.measuring import Measured, Samples
from scn.shards.samples import Sample

TOGETHER = 8
"""Most images that an actor is given at a time: it reads their shard once for all of them."""
_ROUNDS = 4
"""Times that each actor is given images, at least, where there are enough, so that all end at about the same time."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every actor needs; it travels to each node once."""

    samples: Samples
    score: Callable[[Sample], Measured]
    """Measures an image; its networks are in host memory."""
    pictures: Container[int]
    """Numbers of the images whose pictures come back with the figures."""


def measure_on_cluster(work: Work, numbers: Sequence[int]) -> Iterator[Measured]:
    """Yields what is found of images, in the order of `numbers`.

    There is an actor for each GPU of the cluster, or for each CPU where it has no GPU, but no more than images. An
    actor that is lost is replaced, and its images are measured again.

    Raises:
        UserError: at the first image that can't be read or measured, or of a node with other code or versions.
    """
    start_ray()
    if not numbers:
        return
    actors, _ = actors_for(len(numbers))
    together = max(1, min(TOGETHER, len(numbers) // (_ROUNDS * actors)))
    here = ray.get_runtime_context().get_node_id()
    arguments = (ray.put(work), here, common())
    with closing(map_in_actors(_Actor, arguments, list(numbers), together=together, ordered=True)) as results:
        for result in results:
            if isinstance(result, UserError):
                raise result
            yield result


class _Actor:
    """Measures images; an error that the user can mend is a result as well, as Ray would make a traceback of it."""

    def __init__(self, work: Any, driver: str, needed: dict[str, str]) -> None:
        self.refused = refusal(needed)
        if self.refused:
            return
        if not torch.cuda.is_available():
            torch.set_num_threads(1)  # it has one CPU
        self.work: Work = ray.get(work)
        node = ray.get_runtime_context().get_node_id()
        self.place = "" if node == driver else f" (on the node {socket.gethostname()})"

    def __call__(self, numbers: list[int]) -> Iterator[Measured | UserError]:
        if self.refused:
            yield self.refused
            return
        try:
            for number, sample in zip(numbers, self.work.samples.read(numbers), strict=True):
                measured = self.work.score(sample)
                yield measured if number in self.work.pictures else replace(measured, pictures={})
        except UserError as error:
            yield UserError(f"{str(error).rstrip('.')}{self.place}.") if self.place else error
