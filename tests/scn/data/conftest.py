"""Feeds over shards of pictures."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from scn.config.params import Experiment
from scn.data import Feed, open_feed
from scn.shards.manifest import Manifests
from scn.shards.samples import Sample
from scn.storage import open_store

Open = Callable[..., Feed]


@pytest.fixture
def open_pictures(tmp_path: Path, put: Callable[..., Manifests]) -> Iterator[Open]:
    """A function: (experiment, samples of a shard, ..., url=, cache=, device=, rank=, world_size=) -> a feed."""
    with ExitStack() as stack:

        def make(
            made: Experiment,
            *shards: list[Sample],
            url: str = "",
            cache: Path | None = None,
            device: str = "cpu",
            **ranks: int,
        ) -> Feed:
            store = open_store(url or f"file://{tmp_path / 'store'}")
            manifest = put(store, made, *shards).train
            feed = open_feed(store, manifest, made, torch.device(device), cache=cache, **ranks)
            stack.callback(feed.close)
            return feed

        yield make
