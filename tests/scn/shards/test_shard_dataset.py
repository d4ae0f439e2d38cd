"""Samples in order, as webdataset reads them: those of the project's own reader, and of checked shards only."""

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scn.core.errors import UserError
from scn.shards.manifest import Shard
from scn.shards.pipeline import read_samples
from scn.shards.samples import About, Sample, read_shard, unpack
from scn.storage import open_store
from scn.storage.base import Store


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


@pytest.fixture
def shards(store: Store, put: Callable[..., Any], small_project: Any) -> list[Shard]:
    """Three shards of sr-x2: a whole image, two sub-images of another one, and two images of which one is grey."""
    samples = [sample(0), sample(1, part=0), sample(1, part=1), sample(2), sample(3, grey=True)]
    experiment = small_project.params.experiment("sr-x2")
    return put(store, experiment, samples[:1], samples[1:3], samples[3:]).train.shards


def sample(index: int, part: int = 0, *, side: int = 20, grey: bool = False) -> Sample:
    rng = np.random.default_rng([index, part])
    hr, lr, up = (rng.integers(0, 256, (n, n) if grey else (n, n, 3), np.uint8) for n in (side, side // 2, side))
    about = About(name=f"{index}.png", index=index, part=part, parts=part + 1, height=side, width=side)
    return Sample(about=about, hr=hr, lr=lr, up=up)


def spoil(store: Store, shard: Shard) -> None:
    """Turns one bit of a shard."""
    data = bytearray(store.get(shard.key))
    data[700] ^= 1
    store.delete(shard.key)
    store.put(shard.key, bytes(data))


def test_samples_are_those_of_our_own_reader(store: Store, shards: list[Shard]) -> None:
    read = list(read_samples(store, shards, "sr-x2", 2))
    own = [one for shard in shards for one in unpack(read_shard(store, shard, "sr-x2"), 2)]
    assert [one.about.key for one in read] == [
        f"{i:08d}-{part:04d}" for i, part in ((0, 0), (1, 0), (1, 1), (2, 0), (3, 0))
    ]
    for one, other in zip(read, own, strict=True):
        assert one.about == other.about
        for image, same in ((one.hr, other.hr), (one.lr, other.lr), (one.up, other.up)):
            np.testing.assert_array_equal(image, same)
            assert image.dtype == np.uint8


def test_no_shards_are_no_samples(tmp_path: Path) -> None:
    assert list(read_samples(open_store(f"file://{tmp_path}"), [], "sr-x2", 2)) == []


def test_a_damaged_shard_ends_the_samples_before_its_first(store: Store, shards: list[Shard]) -> None:
    spoil(store, shards[1])
    samples = read_samples(store, shards, "sr-x2", 2)
    assert next(samples).name == "0.png"
    message = (
        rf"^The shard {shards[1].key} in {store.url} is damaged \(its SHA-256 is not the manifest's\): make it again"
    )
    with pytest.raises(UserError, match=message):
        next(samples)


def test_a_shard_that_is_gone_ends_the_samples(store: Store, shards: list[Shard]) -> None:
    store.delete(shards[2].key)
    samples = read_samples(store, shards, "sr-x2", 2)
    assert [next(samples).about.index for _ in range(3)] == [0, 1, 1]
    with pytest.raises(UserError, match=rf"^The shard {shards[2].key} is not in {store.url}: make it again with"):
        next(samples)


def test_nothing_is_left_open(store: Store, shards: list[Shard]) -> None:
    """The file that webdataset opens is closed by the garbage collector, with a warning; ours never is one."""
    samples = read_samples(store, shards, "sr-x2", 2)
    next(samples)
    del samples
    gc.collect()  # a ResourceWarning would be an error here


def test_one_shard_is_in_memory(tmp_path: Path, put: Callable[..., Any], small_project: Any) -> None:
    store = open_store(f"file://{tmp_path / 'store'}")
    samples = [sample(index, side=120) for index in range(96)]
    experiment = small_project.params.experiment("sr-x2")
    shards = put(store, experiment, samples[:32], samples[32:64], samples[64:]).train.shards
    size = shards[0].bytes
    assert len(list(read_samples(store, shards[:1], "sr-x2", 2))) == 32  # what is imported with the first one
    reader = read_samples(store, shards, "sr-x2", 2)
    peaks = []
    tracemalloc.start()
    try:
        for _ in samples:
            tracemalloc.reset_peak()
            next(reader)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert max(peaks[1:32]) < 1.3 * size  # a shard, and samples in the making
    assert max(peaks[32], peaks[64]) < peaks[0] + 0.3 * size  # the next one is fetched when the one before is gone
