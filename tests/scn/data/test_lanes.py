"""Images that are dealt to the lanes of a batch: each worker reads those of its lanes, and the batch stays the same."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from far_store import FarStore
from named_pictures import cut, experiment, pictures

import scn.data.loader
from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.data import Batch, Feed, open_feed
from scn.data.groups import Group, Groups
from scn.data.image_pool import ImagePool
from scn.data.lanes import deal, lanes_of
from scn.data.sampler import Sampler
from scn.shards.manifest import Manifests, Shard
from scn.shards.samples import Sample

Open = Callable[..., Feed]
LANES, STEPS = 4, 12
EPOCHS = 2
IMAGE = (200 * 200 + 100 * 100) * 3
"""Bytes of one of the pictures."""


def lanes_of_pictures(**settings: object) -> Experiment:
    """Four lanes, whose groups hold one picture each."""
    return experiment(**{"lanes": LANES, "group_mib": LANES * IMAGE / 2**20, **settings})


def big(count: int = 8) -> list[list[Sample]]:
    """Shards of one picture each, IMAGE bytes."""
    return [[picture] for picture in pictures(count, size=100)]


def named(*contents: list[int]) -> list[Shard]:
    return [
        Shard(key=f"{n}", bytes=1, sha256=f"{n}", samples=len(images), images=dict.fromkeys(images, (100, 100)))
        for n, images in enumerate(contents)
    ]


def held(dealt: list[list[Shard]]) -> list[dict[str, list[int]]]:
    """For each lane: key of a shard -> the lane's images in it."""
    return [{shard.key: list(shard.images) for shard in shards} for shards in dealt]


def whole(feeds: list[Feed], step: int) -> Batch:
    """The batch of a step, put together from the shares of all ranks."""
    parts = [feed.batch(step) for feed in feeds]
    return Batch(input=torch.cat([p.input for p in parts]), target=torch.cat([p.target for p in parts]))


def assert_same(batch: Batch, expected: Batch) -> None:
    assert torch.equal(batch.input, expected.input)
    assert torch.equal(batch.target, expected.target)


def test_shards_stay_whole_where_lanes_come_out_even() -> None:
    assert held(deal(named([0, 3], [1], [2], [4, 5]), 3)) == [{"0": [0, 3]}, {"1": [1], "2": [2]}, {"3": [4, 5]}]


def test_shards_are_cut_where_lanes_would_be_uneven() -> None:
    dealt = held(deal(named([0, 1, 2], [3, 4, 5], [6, 7, 8, 9]), 4))
    assert dealt == [{"0": [0, 1, 2]}, {"1": [3, 4, 5]}, {"2": [6, 7]}, {"2": [8, 9]}]
    assert held(deal(named([0, 1, 2, 3, 4]), 2)) == [{"0": [0, 1, 2]}, {"0": [3, 4]}]  # fewer shards than lanes


def test_an_image_in_several_shards_lies_in_the_lane_of_the_first_which_has_all_of_them() -> None:
    dealt = held(deal(named([0, 1], [1, 2], [2, 3], [3]), 2))
    assert dealt == [{"0": [0, 1], "1": [1]}, {"1": [2], "2": [2, 3], "3": [3]}]


@pytest.mark.parametrize("lanes", [1, 2, 8, 64])
def test_a_corpus_is_dealt_evenly_and_few_shards_are_cut(lanes: int) -> None:
    numbers = iter(range(10_000))
    shards = named(*([next(numbers) for _ in range(40 + n % 7)] for n in range(200)))
    dealt = deal(shards, lanes)
    images = [[image for shard in shards for image in shard.images] for shards in dealt]
    assert sorted(chain(*images)) == list(range(sum(shard.samples for shard in shards)))
    counts = [len(of_lane) for of_lane in images]
    assert max(counts) - min(counts) <= 1
    assert sum(map(len, dealt)) <= len(shards) + lanes - 1


def test_ranks_have_equal_parts_of_the_lanes_and_all_have_the_only_one() -> None:
    assert [lanes_of(rank, 4, 8) for rank in range(4)] == [range(0, 2), range(2, 4), range(4, 6), range(6, 8)]
    assert [lanes_of(rank, 3, 1) for rank in range(3)] == [range(1)] * 3


@pytest.mark.parametrize(("world_size", "count"), [(2, 8), (4, 8), (4, 11)])
def test_any_number_of_workers_sees_the_same_batches(open_pictures: Open, world_size: int, count: int) -> None:
    made = lanes_of_pictures()
    one = open_pictures(made, *big(count))
    feeds = [open_pictures(made, *big(count), rank=rank, world_size=world_size) for rank in range(world_size)]
    expected = [one.batch(step) for step in range(STEPS)]
    for step in range(STEPS):
        assert_same(whole(feeds, step), expected[step])
        assert list(chain(*(feed.images(step) for feed in feeds))) == one.images(step)
    again = open_pictures(made, *big(count))
    for step in (7, 3, 11):  # without the steps before it
        assert_same(again.batch(step), expected[step])
    assert not torch.equal(expected[4].input, expected[5].input)
    other = open_pictures(lanes_of_pictures(seed=1), *big(count))
    assert not torch.equal(other.batch(4).input, expected[4].input)


def test_lanes_draw_from_their_own_images_and_differently(open_pictures: Open) -> None:
    feed = open_pictures(lanes_of_pictures(group_mib=100), *big())
    places = [list[tuple[int, ...]]() for _ in range(LANES)]
    for step in range(STEPS):
        corners = (feed.batch(step).input[:, :, 0, 0] * 255).round().int().tolist()
        for lane in range(LANES):
            of_lane = corners[2 * lane : 2 * lane + 2]
            assert {number // 2 for number, *_ in of_lane} == {lane}
            places[lane] += [(number % 2, *place) for number, *place in of_lane]
    assert len(set(map(tuple, places))) == LANES


@pytest.mark.parametrize("count", [8, 10])
def test_every_image_is_drawn_equally_often_in_each_epoch_of_its_lane(count: int) -> None:
    made = lanes_of_pictures(epochs=6)
    dealt = deal(named(*([image] for image in range(count))), LANES)
    for lane, shards in enumerate(dealt):
        sampler = Sampler(Groups(made, shards, IMAGE, lane), count, made)
        parts = chain(*(sampler.step(step) for step in range(made.train.steps(count))))
        drawn = [int(part.group.images[place]) for part in parts for place in part.image]
        epoch = len(shards) * made.train.patches_per_image
        orders = [tuple(drawn[start : start + epoch]) for start in range(0, len(drawn) - epoch + 1, epoch)]
        assert len(orders) >= 5
        for order in orders:
            assert Counter(order) == {number: 6 for shard in shards for number in shard.images}
        assert len(set(orders)) > 1


def test_images_that_lie_in_several_shards_are_put_together(open_pictures: Open) -> None:
    parts = list(chain(*(cut(picture, side=120, stride=80) for picture in pictures(8, size=100))))
    shards = parts[:7], parts[7:15], parts[15:18], parts[18:]
    one = open_pictures(lanes_of_pictures(), *shards)
    feeds = [open_pictures(lanes_of_pictures(), *shards, rank=rank, world_size=2) for rank in range(2)]
    drawn = Counter[int]()
    for step in range(STEPS):
        batch = one.batch(step)
        assert torch.equal(batch.target[:, :, ::2, ::2], batch.input)
        assert_same(whole(feeds, step), batch)
        drawn.update((batch.input[:, 0, 0, 0] * 255).round().int().tolist())
    assert drawn == dict.fromkeys(range(8), 6 * EPOCHS)


@pytest.fixture
def asked(put: Callable[..., Manifests], tmp_path: Path) -> Callable[..., list[Counter[int]]]:
    """A function: (experiment, shards, world_size) -> how often each rank reads each shard from the store in a run."""

    def run(made: Experiment, shards: list[list[Sample]], world_size: int) -> list[Counter[int]]:
        stores = [FarStore(tmp_path / "store") for _ in range(world_size)]
        manifest = put(stores[0], made, *shards).train
        numbers = {shard.key: number for number, shard in enumerate(manifest.shards)}
        with ExitStack() as stack:
            feeds = []
            for rank, store in enumerate(stores):
                folder, cpu = tmp_path / f"cache of {rank}", torch.device("cpu")
                opened = open_feed(store, manifest, made, cpu, cache=folder, rank=rank, world_size=world_size)
                feeds.append(stack.enter_context(closing(opened)))
            for step in range(made.train.steps(manifest.images)):
                whole(feeds, step)
        return [Counter(numbers[key] for key in store.asked) for store in stores]

    return run


def test_each_worker_reads_the_shards_of_its_lanes_and_all_together_each_once_an_epoch(
    asked: Callable[..., list[Counter[int]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    reads = asked(lanes_of_pictures(cache_mib=0), big(), 2)
    assert reads == [Counter(dict.fromkeys(part, EPOCHS)) for part in (range(4), range(4, 8))]
    assert not list(tmp_path.rglob("memory-*.lock"))  # nobody else needs these images


def test_a_cache_that_is_smaller_than_the_corpus_keeps_a_workers_part(
    asked: Callable[..., list[Counter[int]]], tmp_path: Path
) -> None:
    """1 MiB holds 6 of the 8 shards."""
    assert asked(lanes_of_pictures(cache_mib=1), big(), 2) == [Counter(range(4)), Counter(range(4, 8))]
    together = asked(experiment(group_mib=IMAGE / 2**20, cache_mib=1, seed=1), big(), 1)
    assert sum(together[0].values()) > 8


def test_few_shards_serve_any_number_of_lanes(open_pictures: Open) -> None:
    shard = [picture for (picture,) in big(5)]
    one = open_pictures(lanes_of_pictures(), shard)
    feeds = [open_pictures(lanes_of_pictures(), shard, rank=rank, world_size=4) for rank in range(4)]
    for step in range(6):
        assert_same(whole(feeds, step), one.batch(step))
    with pytest.raises(UserError, match=r"The 3 training images of sr-2 can't be dealt to 4 lanes: lower train\.lanes"):
        open_pictures(lanes_of_pictures(), *big(3))
    open_pictures(lanes_of_pictures(group_mib=None), *big(3)).batch(0)


def test_a_worker_holds_two_groups_of_each_of_its_lanes(open_pictures: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most, held = WeakSet[ImagePool](), 0, list[int]()

    class Watched(ImagePool):
        def __init__(self, group: Group, *arguments: Any) -> None:
            super().__init__(group, *arguments)
            alive.add(self)

    monkeypatch.setattr(scn.data.loader, "ImagePool", Watched)
    feed = open_pictures(lanes_of_pictures(), *big(), rank=1, world_size=2)
    for step in range(STEPS):
        feed.batch(step)
        most = max(most, sum(len(pool.memory) for pool in alive))
        held.append(len(feed._held))
    assert held == [4] * 9 + [2] * 3  # in use and read ahead, until the last group of three steps
    assert most <= 4 * IMAGE


def test_memory_is_that_of_a_gpu_or_of_all_workers_of_a_machine(
    open_pictures: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 groups of 143 KiB are 1.14 MiB, and half of them fit 1 MiB."""
    made = lanes_of_pictures(memory_mib=1)
    with pytest.raises(UserError, match=r"4 of the 4 lanes of sr-2 are on this machine .* 1 MiB .* more machines"):
        open_pictures(made, *big())
    open_pictures(made, *big(), rank=1, world_size=2)
    open_pictures(made, *big(4))  # a group each, for good
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(
        UserError, match=r"4 of the 4 lanes .* run\.memory_mib, 1: raise it, .* or lower train\.group_mib"
    ):
        open_pictures(made, *big(), rank=1, world_size=2)
    open_pictures(made, *big(), rank=1, world_size=2, device="cuda")
    with pytest.raises(UserError, match=r"4 of the 4 lanes of sr-2 are on this GPU and .* take more GPUs"):
        open_pictures(made, *big(), device="cuda")
    large = [list(chain(*big(8)[:4])), list(chain(*big(8)[4:]))]
    with pytest.raises(UserError, match=r"on this machine and .* or lower data\.shard_mib, which begins a new run\."):
        open_pictures(lanes_of_pictures(lanes=2, group_mib=0.1, memory_mib=1), *large, *big(9)[8:])
