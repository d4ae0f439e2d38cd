"""Ray Data as this project uses it: actors that are given items and yield results, each as soon as it is there."""

import logging
import pickle
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, cast

import numpy as np

Actor = Callable[[list[Any]], Iterable[Any]]
"""Is given items, and yields a result for each."""


def actors_for(count: int) -> tuple[int, bool]:
    """How many actors `count` items get, and whether each has a GPU: one for each of the cluster, or for each CPU.

    Ray must be started.
    """
    import ray

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    return min(gpus or max(1, int(resources.get("CPU", 1))), count), gpus > 0


def map_in_actors(
    make: Callable[..., Actor],
    arguments: tuple[Any, ...],
    items: Sequence[Any],
    *,
    together: int = 1,
    ordered: bool = False,
) -> Generator[Any]:
    """Yields what actors make of items. An actor that is lost is replaced, and given its items again.

    Args:
        make: a class; `make(*arguments)` is called in each actor, and what it returns is given the items.
        together: how many items an actor is given at a time.
        ordered: results come in the order of the items; otherwise as they are there.
    """
    import ray.data

    if not items:
        return
    actors, on_gpus = actors_for(len(items))
    with _settings(ordered):
        rows = ray.data.from_items(
            [pickle.dumps(item) for item in items], override_num_blocks=-(-len(items) // together)
        )
        found = rows.map_batches(
            _Wrapped,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors),
            fn_constructor_args=(make, arguments),
            num_cpus=1,
            num_gpus=1 if on_gpus else 0,
        )
        with closing(cast(Generator[Any], iter(found.iter_rows()))) as stream:  # closed, it ends the actors
            for row in stream:
                yield pickle.loads(row["result"])


class _Wrapped:
    def __init__(self, make: Callable[..., Actor], arguments: tuple[Any, ...]) -> None:
        self.actor = make(*arguments)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for result in self.actor([pickle.loads(item) for item in batch["item"]]):
            yield {"result": np.array([pickle.dumps(result, protocol=5)], dtype=object)}


@contextmanager
def _settings(ordered: bool) -> Iterator[None]:
    """Context in which Ray Data lets results through one by one, and tells of nothing but errors."""
    import ray.data

    console = [handler for handler in logging.getLogger("ray.data").handlers if handler.name == "console"]
    levels = [handler.level for handler in console]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of settings that it copies itself
        context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = ordered
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
