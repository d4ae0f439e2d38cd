"""Measuring on a Ray cluster: a Ray Data pipeline of actors that hold the networks and read the images themselves.

The rows that go in are the numbers of images, and those that come out their figures: an image is in the memory of the
actor that measures it and nowhere else, unless its pictures are asked for (docs/decisions/0018).
"""

import logging
import pickle
import socket
import warnings
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import ray
import ray.data
import torch

from scn.core.errors import UserError
from scn.core.nodes import common, refusal
from scn.core.ray import start_ray
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
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    actors = min(gpus or max(1, int(resources.get("CPU", 1))), len(numbers))
    together = max(1, min(TOGETHER, len(numbers) // (_ROUNDS * actors)))
    work_ref = ray.put(work)
    here = ray.get_runtime_context().get_node_id()
    with _settings():
        rows = ray.data.from_items(list(numbers), override_num_blocks=-(-len(numbers) // together))
        found = rows.map_batches(
            _Actor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors),
            fn_constructor_args=(work_ref, here, common()),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        with closing(cast(Generator[Any], iter(found.iter_rows()))) as stream:  # closed, it ends the actors
            for row in stream:
                result = pickle.loads(row["result"])
                if isinstance(result, UserError):
                    raise result
                yield result


class _Actor:
    """Measures images; an error that the user can mend is a row as well, as Ray would make a traceback of it."""

    def __init__(self, work: Any, driver: str, needed: dict[str, str]) -> None:
        self.refused = refusal(needed)
        if self.refused:
            return
        if not torch.cuda.is_available():
            torch.set_num_threads(1)  # it has one CPU
        self.work: Work = ray.get(work)
        node = ray.get_runtime_context().get_node_id()
        self.place = "" if node == driver else f" (on the node {socket.gethostname()})"

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if self.refused:
            yield _row(self.refused)
            return
        numbers = [int(number) for number in batch["item"]]
        try:
            for number, sample in zip(numbers, self.work.samples.read(numbers), strict=True):
                measured = self.work.score(sample)
                yield _row(measured if number in self.work.pictures else replace(measured, pictures={}))
        except UserError as error:
            yield _row(UserError(f"{str(error).rstrip('.')}{self.place}.") if self.place else error)


def _row(result: object) -> dict[str, Any]:
    return {"result": np.array([pickle.dumps(result, protocol=5)], dtype=object)}


@contextmanager
def _settings() -> Iterator[None]:
    """Context in which Ray Data lets results through in order and one by one, and tells of nothing but errors."""
    console = [handler for handler in logging.getLogger("ray.data").handlers if handler.name == "console"]
    levels = [handler.level for handler in console]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of settings that it copies itself
        context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # a result is a block: it need not wait for others
    try:
        for handler in console:
            handler.setLevel(logging.ERROR)
        with ray.data.DataContext.current(context):
            yield
    finally:
        for handler, level in zip(console, levels, strict=True):
            handler.setLevel(level)
