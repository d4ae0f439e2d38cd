"""Shards as a pipeline of the webdataset package: fetched and checked by the store, read by webdataset.

It imports PyTorch by way of webdataset, as scn.shards.pairs does; the other modules of scn.shards do not.
"""

import io
import os
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import webdataset as wds
from webdataset.tariterators import group_by_keys, tar_file_expander

from scn.shards.manifest import Shard
from scn.shards.samples import Sample, decode, read_shard
from scn.storage.base import Store, reopened


class ShardDataset(wds.WebDataset):
    """A webdataset.WebDataset whose shards come from a store instead of URLs.

    Its samples are dicts of the members of a sample (bytes, by suffix). A shard that is missing or not what the
    manifest says raises a UserError with its key, before any of its samples; none is ever skipped.
    """

    def __init__(self, shards: Callable[[], Iterable[Shard]], store: Store, experiment: str | None) -> None:
        """The samples of `shards`, which are asked for at the start of every pass, in their order.

        Args:
            experiment: the one whose DVC stage makes them, or None, as read_shard takes it.
        """
        # WebDataset's own __init__ puts together the same stages, but for the first, which opens URLs unchecked.
        wds.DataPipeline.__init__(self, shards, _Fetch(store, experiment), tar_file_expander, group_by_keys)


def read_samples(
    store: Store, shards: Iterable[Shard], experiment: str | None, level: int, numbers: Container[int] | None = None
) -> Iterator[Sample]:
    """The samples of shards, in order, with the degraded images of `level`.

    Args:
        experiment: the one whose DVC stage makes them, or None, as read_shard takes it.
        numbers: numbers of the samples, from 0 for the first of the first shard, that are wanted; None: all.
    Raises:
        UserError: naming the first shard that is missing or damaged, before any of its samples.
    """
    stored = iter(ShardDataset(partial(iter, tuple(shards)), store, experiment))
    wanted = (members for number, members in enumerate(stored) if numbers is None or number in numbers)
    return map(partial(decode, level=level), wanted)


@dataclass(frozen=True)
class _Fetch:
    """The stage that takes the place of webdataset's opener: shards -> streams of their content, checked as a whole."""

    store: Store
    experiment: str | None
    process: int = field(default_factory=os.getpid)

    def __call__(self, shards: Iterable[Shard]) -> Iterator[dict[str, Any]]:
        # A boto3 client does not survive a fork: a worker opens the store anew.
        store = self.store if os.getpid() == self.process else reopened(self.store)
        for shard in shards:
            # Closed when the next one is asked for, so that never two are in memory.
            with io.BytesIO(read_shard(store, shard, self.experiment)) as stream:
                yield {"url": f"{store.url}/{shard.key}", "stream": stream}
