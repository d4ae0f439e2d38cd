"""The patches of a step, with all images in memory or a group of them at a time."""

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from threading import Event, Semaphore
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
import torch
from far_store import FarStore
from named_pictures import cut, experiment, pictures

import scn.data.cache
import scn.data.loader
from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.data import Feed, open_feed
from scn.data.groups import Group
from scn.data.image_pool import ImagePool
from scn.data.shared_memory import shared_memory
from scn.shards.manifest import Manifests, Shard
from scn.shards.samples import About, Sample
from scn.storage import open_store
from scn.storage.base import Store, StoreError

Open = Callable[..., Feed]
KINDS = [None, 0.5]
"""Values of train.group_mib: all images at once, or two or three pictures of `shards` at a time."""


def shards(count: int = 8, task: str = "sr") -> list[list[Sample]]:
    """Shards of one picture each."""
    return [[picture] for picture in pictures(count, task, size=100 if task == "sr" else 420)]


def small(kind: float | None, task: str = "sr", level: int = 2, **train: object) -> Experiment:
    return experiment(task, level, group_mib=kind, **train)


@pytest.mark.parametrize("kind", KINDS)
def test_input_and_target_are_the_same_place_turned_the_same_way(open_pictures: Open, kind: float | None) -> None:
    feed = open_pictures(small(kind), *shards())
    batch = feed.batch(3)
    assert batch.input.shape == (8, 3, 8, 8)
    assert batch.target.shape == (8, 3, 16, 16)
    assert batch.input.dtype == batch.target.dtype == torch.float32
    assert torch.equal(batch.target[:, :, ::2, ::2], batch.input)
    assert torch.equal(batch.target[:, :, 1::2, 1::2], batch.input)


@pytest.mark.parametrize("kind", KINDS)
def test_all_eight_symmetries_and_all_places_are_drawn(open_pictures: Open, kind: float | None) -> None:
    feed = open_pictures(experiment(patches_per_image=400, group_mib=kind), pictures(1))
    seen, rows = set(), set()
    for step in range(50):
        for patch in (feed.batch(step).input * 255).round().int():
            turned = patch[1, 0, 0] == patch[1, 0, 1]  # y changes along rows unless the patch is transposed
            rising_y = patch[1, -1, -1] > patch[1, 0, 0]
            rising_x = patch[2, -1, -1] > patch[2, 0, 0]
            seen.add((bool(turned), bool(rising_y), bool(rising_x)))
            rows.add(int(patch[1].min()))
    assert len(seen) == 8
    assert rows == set(range(13))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize(("task", "level"), [("sr", 2), ("dn", 25)])
def test_workers_share_the_batch_of_one(
    open_pictures: Open, kind: float | None, workers: int, task: str, level: int
) -> None:
    made = small(kind, task, level)
    one, *feeds = [
        open_pictures(made, *shards(task=task), rank=rank, world_size=world_size)
        for rank, world_size in [(0, 1), *((rank, workers) for rank in range(workers))]
    ]
    for step in (2, 7):  # step 2 straddles two groups of the stream
        whole = one.batch(step)
        parts = [feed.batch(step) for feed in feeds]
        assert torch.equal(torch.cat([part.input for part in parts]), whole.input)
        assert torch.equal(torch.cat([part.target for part in parts]), whole.target)


@pytest.mark.parametrize("kind", KINDS)
def test_processes_of_a_machine_share_images_that_one_of_them_reads(
    put: Callable[..., Manifests], kind: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four feeds stand for processes, in which those of one process would find each other as well."""
    made = small(kind, cache_mib=0)  # so that every read is one of the store
    store, cpu = FarStore(tmp_path / "store"), torch.device("cpu")
    manifest = put(store, made, *shards()).train
    with ExitStack() as stack:

        def open_one(cache: Path | None, **ranks: int) -> Feed:
            return stack.enter_context(closing(open_feed(store, manifest, made, cpu, cache=cache, **ranks)))

        alone = open_one(None)
        expected = [alone.batch(step) for step in range(12)]
        named = [alone.images(step) for step in range(12)]
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        with monkeypatch.context() as without_memfd:
            without_memfd.delattr(os, "memfd_create")
            assert open_one(tmp_path / "none")._load._folder is None
        feeds = [open_one(tmp_path / "locks", rank=rank, world_size=4) for rank in range(4)]
        store.asked.clear()
        for step in range(12):
            for rank, feed in enumerate(feeds):
                part = feed.batch(step)
                assert torch.equal(part.input, expected[step].input[2 * rank : 2 * rank + 2])
                assert torch.equal(part.target, expected[step].target[2 * rank : 2 * rank + 2])
                assert feed.images(step) == named[step][2 * rank : 2 * rank + 2]
    reads = Counter(store.asked)
    assert len(reads) == 8
    assert max(reads.values()) == (1 if kind is None else 2)  # once in each epoch


def test_a_store_that_one_process_has_waited_for_is_not_waited_for_by_the_next(
    put: Callable[..., Manifests], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, waiting = [0.0], Semaphore(0)
    monkeypatch.setattr("scn.data.loader.time", SimpleNamespace(monotonic=lambda: now[0]))

    def shared(*arguments: Any) -> Any:
        waiting.release()
        return shared_memory(*arguments)

    monkeypatch.setattr("scn.data.loader.shared_memory", shared)

    class AwayStore(FarStore):
        def get(self, key: str) -> bytes:
            self.asked.append(key)
            for _ in range(2):
                assert waiting.acquire(timeout=300)
            now[0] += 1  # the patience of one
            raise StoreError("No answer.")

    made, store = experiment(store_timeout_s=1), AwayStore(tmp_path / "store")
    manifest = put(store, made, *shards(1)).train
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")

    def fails(number: int) -> str:
        feed = open_feed(store, manifest, made, torch.device("cpu"), cache=tmp_path / "cache")
        with closing(feed), pytest.raises(StoreError) as error:
            feed.prepare(0)
        return str(error.value)

    with ThreadPoolExecutor(2) as processes:
        first, second = sorted(processes.map(fails, range(2)))
    assert first.startswith("Another process of this machine did not get the images of sr-2 within run.store_timeout_s")
    assert second == "No answer."
    assert len(store.asked) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_a_function_of_seed_and_step(open_pictures: Open, kind: float | None) -> None:
    first = open_pictures(small(kind), *shards())
    steps = [first.batch(step).input for step in range(12)]
    for step in (11, 5, 7, 0):  # without the steps before it, in the middle of a group, and backwards
        assert torch.equal(open_pictures(small(kind), *shards()).batch(step).input, steps[step])
        assert torch.equal(first.batch(step).input, steps[step])
    assert not torch.equal(steps[4], steps[5])
    assert not torch.equal(open_pictures(small(kind, seed=1), *shards()).batch(5).input, steps[5])


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_holds_every_image_equally_often(open_pictures: Open, kind: float | None) -> None:
    feed = open_pictures(small(kind), *shards())
    orders = []
    for epoch in (0, 1):  # 8 images x 6 patches = 6 steps of 8
        inputs = [feed.batch(epoch * 6 + i).input[:, 0, 0, 0] * 255 for i in range(6)]
        drawn = torch.cat(inputs).round().int().tolist()
        assert Counter(drawn) == dict.fromkeys(range(8), 6)
        assert [str(image) for image in drawn] == list(chain(*(feed.images(epoch * 6 + i) for i in range(6))))
        orders.append(drawn)
    assert orders[0] != orders[1]


def test_the_stream_has_two_groups_at_most_and_reads_each_once(
    open_pictures: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, alive = list[int](), WeakSet[ImagePool]()

    class Watched(ImagePool):
        def __init__(self, group: Group, *arguments: Any) -> None:
            super().__init__(group, *arguments)
            made.append(len(group))
            alive.add(self)

    monkeypatch.setattr(scn.data.loader, "ImagePool", Watched)
    feed = open_pictures(small(0.5), *shards())
    straddled = 0
    for step in range(12):
        feed.batch(step)
        assert len(alive) <= 2
        straddled += len(feed._samplers[0].step(step)) > 1
    assert made == [3, 3, 2, 3, 3, 2]  # two epochs, and nothing after the last step
    assert straddled == 4
    resident = open_pictures(small(None), *shards())
    for step in range(12):
        resident.batch(step)
    assert made[6:] == [8]


def test_what_fits_is_the_same_in_both_ways(open_pictures: Open) -> None:
    feeds = [open_pictures(experiment(group_mib=kind), *shards()) for kind in (None, 100)]
    for step in (0, 9):
        first, second = (feed.batch(step) for feed in feeds)
        assert torch.equal(first.input, second.input)


def test_images_that_do_not_fit_the_memory_are_told_with_the_way_out(open_pictures: Open) -> None:
    open_pictures(experiment(memory_mib=1), *shards(6))  # 6 x (200 x 200 + 100 x 100) x 3 = 900,000 bytes
    with pytest.raises(UserError, match=r"sr-2 have 1 MiB .* run.memory_mib, 1: raise it, or set train.group_mib to 1"):
        open_pictures(experiment(memory_mib=1), *shards(7))
    open_pictures(experiment(memory_mib=1, group_mib=0.5), *shards(7))
    with pytest.raises(UserError, match=r"Two groups of train.group_mib 0.6 don't fit run.memory_mib 1 of sr-2"):
        open_pictures(experiment(memory_mib=1, group_mib=0.6), *shards(7))
    with pytest.raises(UserError, match=r"A shard of sr-2 .* up to 2 MiB .*, 1: raise it, or lower data.shard_mib"):
        open_pictures(experiment(memory_mib=1, group_mib=0.1), [sample for shard in shards(7) for sample in shard])


@pytest.mark.parametrize("kind", KINDS)
def test_neither_sub_images_nor_how_they_are_spread_are_seen(open_pictures: Open, kind: float | None) -> None:
    made = experiment(group_mib=kind, loader_workers=2)
    whole = open_pictures(made, pictures(3))
    parts = list(chain(*(cut(picture, side=24, stride=10) for picture in pictures(3))))
    spread = open_pictures(made, parts[:5], parts[5:12], parts[12:])
    for step in range(4):
        assert torch.equal(spread.batch(step).input, whole.batch(step).input)
        assert torch.equal(spread.batch(step).target, whole.batch(step).target)


def test_the_stream_puts_images_together_that_lie_in_several_shards(open_pictures: Open) -> None:
    parts = list(chain(*(cut(picture, side=120, stride=80) for picture in pictures(8, size=100))))
    feed = open_pictures(small(0.5), parts[:7], parts[7:15], parts[15:18], parts[18:])
    drawn = Counter[int]()
    for step in range(6):
        batch = feed.batch(step)
        assert torch.equal(batch.target[:, :, ::2, ::2], batch.input)
        assert set((batch.input[:, 1] * 255).round().int().flatten().tolist()) <= set(range(100))
        drawn.update((batch.input[:, 0, 0, 0] * 255).round().int().tolist())
    assert drawn == dict.fromkeys(range(8), 6)


@pytest.mark.parametrize("kind", KINDS)
def test_one_shard_serves_any_number_of_workers(open_pictures: Open, kind: float | None) -> None:
    made = small(kind, loader_workers=4)
    shard = [picture for (picture,) in shards(2)]
    parts = [open_pictures(made, shard, rank=rank, world_size=8).batch(1).input for rank in range(8)]
    assert torch.equal(torch.cat(parts), open_pictures(made, shard).batch(1).input)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_of_either_kind_of_store_are_fetched_once(
    open_pictures: Open, kind: float | None, store_url: str, tmp_path: Path
) -> None:
    uncached = open_pictures(small(kind), *shards(), url=store_url)
    expected = [uncached.batch(step).input for step in range(12)]
    far = store_url.startswith("s3:")
    for run in (1, 2):
        feed = open_pictures(small(kind), *shards(), url=store_url, cache=tmp_path / "cache")
        if far and run == 2:
            store = open_store(store_url)
            for key in store.list():
                store.delete(key)
        for step in range(12):
            assert torch.equal(feed.batch(step).input, expected[step])
        # In a folder on the same disk a copy would save nothing.
        assert len(list((tmp_path / "cache").glob("*.tar"))) == (8 if far else 0)


def test_noise_has_the_asked_deviation_and_is_not_clipped(open_pictures: Open) -> None:
    white = [Sample(about=About(name="white", height=64, width=64), hr=np.full((64, 64), 255, np.uint8))]
    feed = open_pictures(experiment("dn", 25, patch_size=32, batch_size=16), white)
    batch = feed.batch(0)
    noise = (batch.input - batch.target) * 255
    assert torch.equal(batch.target, torch.ones_like(batch.target))
    assert batch.input.max() > 1.1
    assert noise.std().item() == pytest.approx(25, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.6)
    assert len(torch.unique(batch.input[:, 0, 0, 0])) == 16
    assert not torch.equal(feed.batch(1).input, batch.input)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_smaller_than_a_patch_is_named(open_pictures: Open, kind: float | None) -> None:
    expected = r"image 0 is 40x40 pixels, smaller than a patch of 48x48: take it out .* or lower train.patch_size\."
    with pytest.raises(UserError, match=expected):
        open_pictures(experiment(patch_size=24, group_mib=kind), pictures())


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_shard_stops_the_run_with_its_name(open_pictures: Open, kind: float | None, tmp_path: Path) -> None:
    feed = open_pictures(small(kind), *shards())
    for path in (tmp_path / "store").rglob("*.tar"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"The shard shards/sr/.*\.tar in file://.* is damaged \(it has .* bytes"):
        feed.batch(0)


def test_a_shard_damaged_meanwhile_stops_the_stream_when_it_is_needed(open_pictures: Open, tmp_path: Path) -> None:
    feed = open_pictures(small(0.5), *shards())
    first = [feed.batch(step) for step in range(2)]  # the first group, and the second one is read
    feed._held[feed._samplers[0].following(0)][0].result()
    for path in (tmp_path / "store").rglob("*.tar"):
        path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(feed.batch(1).input, first[1].input)
    for step in (2, 3):  # of 18, 18 and 12 patches, 36 come before the third group
        feed.batch(step)
    with pytest.raises(UserError, match=r"is damaged"):
        feed.batch(4)


def test_a_manifest_without_all_sub_images_is_an_error(open_pictures: Open) -> None:
    parts = cut(pictures(1)[0], side=24, stride=10)
    with pytest.raises(UserError, match=r"manifest of sr-2 does not name all shards that hold its images"):
        open_pictures(experiment(), parts[1:]).batch(0)


def test_images_that_need_too_much_memory_are_told(open_pictures: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("torch.empty", full)
    with pytest.raises(UserError, match=r"cpu has no room for the 8 .* of sr-2, 1 MiB uncompressed: set train.gr"):
        open_pictures(experiment(), *shards()).batch(0)


def test_closing_does_not_wait_for_all_that_is_to_be_read(open_pictures: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started, closing, read = Event(), Event(), list[str]()
    original = scn.data.cache.read_shard

    def slow(store: Store, shard: Shard, experiment: str) -> bytes:
        read.append(shard.key)
        started.set()
        assert closing.wait(120)
        return original(store, shard, experiment)

    monkeypatch.setattr(scn.data.cache, "read_shard", slow)
    feed = open_pictures(small(None), *shards())
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(feed.prepare, 0)
        assert started.wait(120)
        monkeypatch.setattr(Event, "set", lambda event, set=Event.set: (set(event), set(closing)))
        feed.close()
        waiting.exception(120)
    assert len(read) == 1
