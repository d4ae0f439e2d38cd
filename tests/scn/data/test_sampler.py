"""Images, places and symmetries are drawn as the paper says, and any step by itself."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from named_pictures import experiment

from scn.config.params import Experiment
from scn.data.groups import Groups
from scn.data.sampler import Part, Sampler
from scn.shards.manifest import Shard


def shard(number: int, images: dict[int, tuple[int, int]]) -> Shard:
    return Shard(key=f"{number}", bytes=1, sha256=f"{number}", samples=len(images), images=images)


SIZES = [(40 + 2 * i, 60 - 2 * i) for i in range(10)]
SHARDS = [shard(i, {2 * i: SIZES[2 * i], 2 * i + 1: SIZES[2 * i + 1]}) for i in range(5)]


def draws(made: Experiment, budget: int | None = None) -> Sampler:
    return Sampler(Groups(made, SHARDS, budget), len(SIZES), made)


def drawn(parts: list[Part]) -> list[tuple[int, ...]]:
    """(image, top, left, symmetry) of every patch."""
    return [
        (int(part.group.images[i]), *map(int, rest))
        for part in parts
        for i, *rest in zip(part.image, part.top, part.left, part.symmetry, strict=True)
    ]


BUDGETS = [None, 4 * 50 * 50 * 4]  # all; two shards at a time


@pytest.mark.parametrize("budget", BUDGETS)
def test_any_step_by_itself(budget: int | None) -> None:
    made = experiment(batch_size=16)
    one = draws(made, budget)
    walked = [drawn(one.step(step)) for step in range(8)]
    assert all(len(step) == 16 for step in walked)
    for step in (7, 3, 4, 0):
        assert drawn(draws(made, budget).step(step)) == walked[step]
        assert drawn(one.step(step)) == walked[step]
    assert drawn(draws(experiment(batch_size=16, seed=1), budget).step(3)) != walked[3]


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_epoch_holds_every_image_equally_often(budget: int | None) -> None:
    one = draws(experiment(batch_size=15, patches_per_image=6), budget)
    for epoch in range(3):
        patches = chain(*(drawn(one.step(epoch * 4 + i)) for i in range(4)))
        assert Counter(image for image, *_ in patches) == dict.fromkeys(range(10), 6)


def test_a_round_holds_every_image_once_in_another_order() -> None:
    one = draws(experiment(batch_size=10, patches_per_image=50))
    rounds = [tuple(image for image, *_ in drawn(one.step(step))) for step in range(50)]
    assert all(sorted(images) == list(range(10)) for images in rounds)
    assert len(set(rounds)) == 50


@pytest.mark.parametrize("budget", BUDGETS)
def test_places_and_symmetries_are_uniform(budget: int | None) -> None:
    """Chi-square, far above what chance makes of 20,000 draws."""
    made = experiment(batch_size=100, patches_per_image=2000)
    one = draws(made, budget)
    patches = np.array(list(chain(*(drawn(one.step(step)) for step in range(200)))))
    symmetries = np.bincount(patches[:, 3], minlength=8)
    assert symmetries.shape == (8,)
    assert ((symmetries - 2500) ** 2 / 2500).sum() < 30  # 7 degrees of freedom
    for image, (height, width) in enumerate(SIZES):
        places = patches[patches[:, 0] == image]
        for axis, side in ((1, height), (2, width)):
            room = side // 2 - 8 + 1
            counts = np.bincount(places[:, axis], minlength=room)
            expected = len(places) / room
            assert counts.shape == (room,)  # all places, the last one too, and none beyond
            assert ((counts - expected) ** 2 / expected).sum() < 3 * room + 20


def test_a_part_knows_its_place_in_the_step() -> None:
    parts = draws(experiment(batch_size=16, patches_per_image=3), BUDGETS[1]).step(0)
    assert [(part.start, len(part)) for part in parts] == [(0, 12), (12, 4)]
    whole = drawn(parts)
    for start, stop in ((0, 4), (4, 12), (8, 16), (12, 16)):
        assert drawn([part for part in (p.within(start, stop) for p in parts) if part]) == whole[start:stop]
    assert parts[1].within(0, 12) is None
    assert parts[0].within(12, 16) is None


def test_what_follows_is_known_until_the_run_ends() -> None:
    # groups of 24, 24 and 12 patches
    one = draws(experiment(batch_size=12, patches_per_image=6, epochs=1, hold_epochs=0), BUDGETS[1])
    groups = [one.step(step)[0].group for step in range(5)]
    assert [one.following(step) for step in range(5)] == [groups[2], groups[2], groups[4], groups[4], None]
    forever = draws(experiment(batch_size=12, patches_per_image=6))
    assert forever.following(0) is forever.step(0)[0].group
