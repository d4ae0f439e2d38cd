"""Packing: images are cut and spread over shards of equal size; nothing is lost or stored twice."""

from itertools import pairwise

import numpy as np
import pytest

from data_prep.packing import EQUAL, Piece, pack, windows


def starts(length: int, size: int = 480, stride: int = 240) -> list[int]:
    return [start for start, _ in windows(length, size, stride)]


def test_a_large_image_is_cut_as_in_the_field() -> None:
    """2040x1356 makes 8x5 sub-images of 480 pixels."""
    assert starts(2040) == [0, 240, 480, 720, 960, 1200, 1440, 1560]
    assert starts(1356) == [0, 240, 480, 720, 876]
    assert {stop - start for start, stop in windows(2040, 480, 240)} == {480}


def test_a_small_rest_widens_the_last_sub_image() -> None:
    assert windows(481, 480, 240) == windows(481, 0, 240) == [(0, 481)]
    assert windows(599, 480, 240) == [(0, 599)]
    assert windows(600, 480, 240) == [(0, 480), (120, 600)]
    assert windows(741, 480, 240) == [(0, 480), (240, 741)]
    assert windows(300, 480, 240) == [(0, 300)]


@pytest.mark.parametrize(("size", "stride"), [(480, 240), (48, 48), (96, 36), (12, 12)])
def test_every_pixel_is_covered_and_places_fit_the_scale(size: int, stride: int) -> None:
    for length in range(12, 1500, 12):
        places = windows(length, size, stride)
        assert places[0][0] == 0
        assert places[-1][1] == length
        assert all(b <= last for (_, last), (b, _) in pairwise(places))
        assert all(start % 12 == stop % 12 == 0 for start, stop in places)


def packed(parts: list[list[int]], target: int, **options: object) -> list[list[Piece]]:
    return pack([sum(p) for p in parts], parts.__getitem__, target=target, **options)


def loads(parts: list[list[int]], shards: list[list[Piece]]) -> list[int]:
    return [sum(sum(parts[p.image][p.first : p.last]) for p in shard) for shard in shards]


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_shards_are_equal_and_hold_every_sub_image_once(seed: int, in_order: bool) -> None:
    rng = np.random.default_rng(seed)
    parts = [[int(w) for w in rng.integers(50, 100, rng.integers(1, 41))] for _ in range(60)]
    shards = packed(parts, 6000, least=3, in_order=in_order)
    weights = loads(parts, shards)
    assert max(weights) <= EQUAL * min(weights)
    assert 4000 < np.mean(weights) < 12000
    held = [(p.image, n) for shard in shards for p in shard for n in range(p.first, p.last)]
    everything = [(i, n) for i, of_image in enumerate(parts) for n in range(len(of_image))]
    assert sorted(held) == everything
    assert all(shard == sorted(shard, key=lambda p: (p.image, p.first)) for shard in shards)
    if in_order:
        assert held == everything
    else:  # each image is decoded once
        assert sum(map(len, shards)) == len(parts)
        assert abs(np.mean(weights) - 6000) < 500


def test_the_number_of_shards_gives_way_to_their_equality() -> None:
    parts = [[100]] * 10
    assert list(map(len, packed(parts, 400))) == [5, 5]
    assert list(map(len, packed(parts, 400, least=3))) == [2] * 5


@pytest.mark.parametrize("images", [803, 2000, 2404])
def test_images_of_one_size_stay_whole(images: int) -> None:
    """Shards of 4 and of 5 would not be equal enough."""
    parts = [[10] * 40] * images
    shards = packed(parts, 1940)
    assert {len(shard) for shard in shards} <= {5, 6}
    assert all(piece.last - piece.first == 40 for shard in shards for piece in shard)


def test_images_are_shared_out_where_they_are_fewer_than_the_shards_asked_for() -> None:
    parts = [[10] * 8, [10] * 8, [10] * 8]
    shards = packed(parts, 10**9, least=4)
    assert loads(parts, shards) == [60, 60, 60, 60]
    assert shards[1] == [Piece(image=0, first=6, last=8), Piece(image=1, first=0, last=4)]


def test_too_few_sub_images_make_one_shard_each() -> None:
    assert packed([[10], [20]], 100, least=5) == [[Piece(image=0, first=0, last=1)], [Piece(image=1, first=0, last=1)]]
    assert packed([], 100, least=2) == []
    assert packed([[10], [200]], 10**6) == [[Piece(image=0, first=0, last=1), Piece(image=1, first=0, last=1)]]


def test_what_cannot_be_equal_is_as_equal_as_possible() -> None:
    parts = [[100], [60], [55]]
    assert sorted(loads(parts, packed(parts, 50, least=2))) == [100, 115]
    assert sorted(loads(parts, packed(parts, 50, least=3))) == [55, 60, 100]
