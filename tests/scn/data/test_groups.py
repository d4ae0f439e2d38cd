"""Groups: in each epoch every image is in one group; no group is too large; each names the shards that it needs."""

import numpy as np
import pytest
from named_pictures import experiment

from scn.data.groups import Groups, image_bytes
from scn.shards.manifest import Shard

MADE = experiment("sr", 2)
SIDE = 20
IMAGE = SIDE * SIDE * 3 * 5 // 4


def shards(*contents: list[int]) -> list[Shard]:
    return [
        Shard(key=f"{n}", bytes=1, sha256=f"{n}", samples=len(images), images=dict.fromkeys(images, (SIDE, SIDE)))
        for n, images in enumerate(contents)
    ]


def test_bytes_of_an_image() -> None:
    assert image_bytes(MADE, SIDE, SIDE) == IMAGE
    assert image_bytes(experiment("sr", 4), 40, 80) == 3 * (40 * 80 + 10 * 20)
    assert image_bytes(experiment("dn", 25), 40, 80) == 40 * 80
    assert image_bytes(experiment("car", 10), 40, 80) == 2 * 40 * 80


def test_every_image_is_in_one_group_of_each_epoch_and_the_order_changes() -> None:
    contents = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(20)]
    groups = Groups(MADE, shards(*contents), budget=7 * IMAGE)  # two shards fit, three don't
    orders = set()
    for epoch in range(5):
        of_epoch = groups.of_epoch(epoch)
        assert [len(group) for group in of_epoch] == [6] * 10
        assert sorted(np.concatenate([group.images for group in of_epoch])) == list(range(60))
        for group in of_epoch:
            assert {image for shard in group.shards for image in shard.images} == set(group.images)
            assert len(group.shards) == 2
            assert group.sizes.tolist() == [[SIDE, SIDE]] * 6
        orders.add(tuple(shard.key for group in of_epoch for shard in group.shards))
    assert len(orders) == 5
    assert groups.of_epoch(4) is groups.of_epoch(4)
    again = Groups(MADE, shards(*contents), budget=7 * IMAGE)
    assert [group.images.tolist() for group in again.of_epoch(4)] == [g.images.tolist() for g in groups.of_epoch(4)]


def test_an_image_in_several_shards_belongs_to_the_group_of_the_first() -> None:
    contents = [[0, 1], [1, 2], [2], [2, 3]]
    groups = Groups(MADE, shards(*contents), budget=2 * IMAGE)
    for epoch in range(20):
        of_epoch = groups.of_epoch(epoch)
        assert sorted(np.concatenate([group.images for group in of_epoch])) == [0, 1, 2, 3]
        for group in of_epoch:
            holders = {str(n) for n, images in enumerate(contents) if set(images) & set(group.images)}
            assert {shard.key for shard in group.shards} == holders
            assert len(group) <= 2


@pytest.mark.parametrize("budget", [None, 6 * IMAGE])
def test_what_fits_is_one_group_for_good(budget: int | None) -> None:
    groups = Groups(MADE, shards([4, 5], [0], [1, 2, 3]), budget)
    (group,) = groups.of_epoch(0)
    assert group.images.tolist() == list(range(6))
    assert len(group.shards) == 3
    assert groups.of_epoch(7)[0] is group


def test_a_shard_that_is_too_large_is_a_group_of_its_own() -> None:
    groups = Groups(MADE, shards([0, 1, 2, 3], [4], [5]), budget=2 * IMAGE)
    for epoch in range(6):
        sizes = [len(group) for group in groups.of_epoch(epoch)]
        assert sorted(sizes) in ([2, 4], [1, 1, 4])
