"""Cuts images into sub-images and spreads them over shards of nearly equal size."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice

EQUAL = 1.2
"""Largest ratio of weights between two shards of a set, where the images allow it."""

_TRIED = 16  # numbers of shards to try; with many images to a shard the first or second is equal enough


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Sub-images `first` to `last` (not included) of image number `image`, which lie in one shard."""

    image: int
    first: int
    last: int


def windows(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Start and end (not included) of the sub-images of `size` pixels along a side of `length` pixels.

    They start `stride` pixels apart; the last one ends at the edge. A rest of less than half a stride gets no sub-image
    of its own, which would nearly repeat the one before it, but widens that one. So a side shorter than
    `size + stride / 2` is not cut; with size 0 no side is.
    """
    if size == 0 or length <= size:
        return [(0, length)]
    places = [(start, start + size) for start in range(0, length - size + 1, stride)]
    rest = length - places[-1][1]
    if 2 * rest >= stride:
        places.append((length - size, length))
    else:
        places[-1] = places[-1][0], length
    return places


def pack(
    weights: Sequence[int],
    parts: Callable[[int], Sequence[int]],
    *,
    target: int,
    least: int = 1,
    in_order: bool = False,
) -> list[list[Piece]]:
    """Spreads images over shards of nearly equal weight, about `target` each.

    Images stay whole, so that each is decoded once, unless only sub-images give `least` shards or equal ones.

    Args:
        weights: weight of each image, such as its bytes.
        parts: number of an image -> weights of its sub-images, which add up to the image's.
        target: weight of a shard.
        least: fewest shards.
        in_order: True: the images keep their order from shard to shard.
    Returns:
        The pieces of every shard, in the order of the images; fewer than `least` shards if there are fewer sub-images.
    """
    wanted = max(least, round(sum(weights) / target))
    best: tuple[float, list[list[Piece]]] | None = None
    for cut, spread in ((_whole, _contiguous if in_order else _balanced), (_cut, _contiguous)):
        pieces, heights = cut(weights, parts)
        for count in islice(_near(wanted, least, len(pieces)), _TRIED):
            bins = spread(heights, count)
            loads = [sum(heights[i] for i in of_bin) for of_bin in bins]
            ratio = max(loads) / min(loads)
            if best is None or ratio < best[0]:
                best = ratio, [_joined([pieces[i] for i in of_bin]) for of_bin in bins]
            if ratio <= EQUAL:
                return best[1]
    return best[1] if best else [[piece] for piece in pieces]


def _whole(weights: Sequence[int], parts: Callable[[int], Sequence[int]]) -> tuple[list[Piece], Sequence[int]]:
    return [Piece(image=i, first=0, last=len(parts(i))) for i in range(len(weights))], weights


def _cut(weights: Sequence[int], parts: Callable[[int], Sequence[int]]) -> tuple[list[Piece], Sequence[int]]:
    cut = [(Piece(image=i, first=n, last=n + 1), w) for i in range(len(weights)) for n, w in enumerate(parts(i))]
    return [piece for piece, _ in cut], [weight for _, weight in cut]


def _near(wanted: int, least: int, most: int) -> Iterator[int]:
    """Numbers of shards to try, from `least` to `most` and near `wanted`; the likeliest to give equal shards first."""
    # With pieces of one weight, shards of 5 and 6 pieces are equal enough (EQUAL), shards of 4 and 5 are not.
    five_each = most // 5
    furthest = max(wanted // 2, 2)
    around = (wanted + sign * distance for distance in range(1, furthest + 1) for sign in (-1, 1))
    for count in dict.fromkeys(chain((wanted, five_each), around)):
        if max(least, 1) <= count <= most and abs(count - wanted) <= furthest:
            yield count


def _balanced(weights: Sequence[int], count: int) -> list[list[int]]:
    """Longest processing time first: the heaviest that is left goes to the lightest shard."""
    heap = [(0, number) for number in range(count)]
    bins: list[list[int]] = [[] for _ in range(count)]
    for i in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        load, number = heapq.heappop(heap)
        bins[number].append(i)
        heapq.heappush(heap, (load + weights[i], number))
    return sorted(sorted(of_bin) for of_bin in bins)


def _contiguous(weights: Sequence[int], count: int) -> list[list[int]]:
    """Cuts the sequence where its running sum is nearest to equal parts; no part is empty."""
    sums = [0, *accumulate(weights)]
    cuts = [0]
    for number in range(1, count):
        place, low, high = sums[-1] * number / count, cuts[-1] + 1, len(weights) - (count - number)
        cut = low
        while cut < high and abs(sums[cut + 1] - place) <= abs(sums[cut] - place):
            cut += 1
        cuts.append(cut)
    return [list(range(a, b)) for a, b in zip(cuts, [*cuts[1:], len(weights)], strict=True)]


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Joins neighbouring pieces of one image."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and joined[-1].image == piece.image and joined[-1].last == piece.first:
            joined[-1] = Piece(image=piece.image, first=joined[-1].first, last=piece.last)
        else:
            joined.append(piece)
    return joined
