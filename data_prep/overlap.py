"""Finds training images that show the same picture as an evaluation image, whatever was done to it.

A copy in another format or of another quality or size, a piece, the mirror image, one turned by 90 degrees, a grey
version, and several of that at once. Features that agree on one placement make a pair suspicious (after Lowe, IJCV
2004, section 7); the correlation of the pixels decides (data_prep.placement). What has no corners, such as a clear
sky, is found by equal pixels only.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.fingerprints import Fingerprint, FingerprintJob, fingerprints, grey, opencv
from data_prep.placement import Placement, agreement
from scn.core.errors import UserError
from scn.core.parallel import carry_out
from scn.corpora.corpora import Corpus, Source
from scn.corpora.images import decode
from scn.storage.base import Store

Ints = NDArray[np.int64]

LEAST_FEATURES = 4
"""Number of features that have to agree on one placement."""
_NEAR = 64  # bits of 256 that may differ between descriptors of the same feature; of different ones half of them do
_MOST = 64  # images of a corpus whose fingerprints are made together, 16 on average
_TURN = 20.0  # degrees by which a feature's turn may differ from a multiple of 90
_STEP = 0.6  # of the logarithm to base 2 of the scale, in which features agree
_SHOWN = 20  # pairs that a message names


@dataclass(frozen=True, kw_only=True, order=True)
class Overlap:
    """A training image and an evaluation image that show the same picture."""

    train: str
    """Label of the training image."""
    evaluation: str
    """Label of the evaluation image."""
    how: str
    """In a few words, what the one is of the other, and how well they agree."""


@dataclass(frozen=True, kw_only=True)
class _Suspicion:
    """A training image with the evaluation images that it may show, and their placements."""

    train: Source
    evaluation: list[tuple[Source, Placement]]


def label(corpus: Corpus, source: Source) -> str:
    """The name of an image that is unique among all corpora: CORPUS/NAME."""
    return f"{corpus.reference.partition('/')[0]}/{source.name}"


def find_overlaps(
    train: Sequence[Corpus], evaluation: Sequence[Corpus], store: Store, workers: int = 0
) -> list[Overlap]:
    """Finds all pairs of a training image and an evaluation image that show the same picture, sorted by name.

    Memory holds the fingerprints of the evaluation images, 0.4 MB each, and of a few training images at a time.

    Args:
        store: where the fingerprints are kept.
        workers: number of processes, as for scn.core.parallel.carry_out.
    Raises:
        UserError: if a file has changed since the corpora were opened, or the store fails.
    """
    measured = [(label(corpus, source), source) for corpus in evaluation for source in corpus.images]
    trained = [(label(corpus, source), source) for corpus in train for source in corpus.images]
    found: dict[tuple[int, int], str] = {}
    suspected: dict[int, list[tuple[int, Placement]]] = {}

    prints = dict(_fingerprints(evaluation, store, workers, mirrored=True))
    index = Index([prints[number] for number in range(len(measured))])
    same_pixels, same_file = defaultdict(list), defaultdict(list)
    for number, (_, source) in enumerate(measured):
        same_file[source.sha256].append(number)
        same_pixels[prints[number][0].pixels].append(number)
    del prints
    for number, (own,) in _fingerprints(train, store, workers, mirrored=False):
        equal = same_pixels.get(own.pixels, []) if own.pixels else []
        found |= {(number, other): "the same pixels" for other in equal}
        found |= {(number, other): "the same file" for other in same_file.get(trained[number][1].sha256, [])}
        if placed := [(other, where) for other, where in index.placements(own) if (number, other) not in found]:
            suspected[number] = placed

    numbers = sorted(suspected)
    jobs = [
        _Suspicion(
            train=trained[number][1], evaluation=[(measured[other][1], where) for other, where in suspected[number]]
        )
        for number in numbers
    ]
    for job, told in carry_out(_confirmed, jobs, workers, unit="pair"):
        for (other, _), how in zip(suspected[numbers[job]], told, strict=True):
            if how:
                found[numbers[job], other] = how
    return sorted(
        Overlap(train=trained[one][0], evaluation=measured[other][0], how=how) for (one, other), how in found.items()
    )


def refusal(overlaps: Sequence[Overlap], where: str, *, left_out: bool = False) -> UserError:
    """The error that names all pairs.

    Args:
        where: the file and the experiment, for the message.
        left_out: data.overlap is leave_out, and nothing is left.
    """
    count = len({overlap.train for overlap in overlaps})
    what = "training image shows" if count == 1 else "training images show"
    lines = [f"{where}: {count} {what} what is measured on:"]
    lines += [f"  {pair.train} shows {pair.evaluation} ({pair.how})" for pair in overlaps[:_SHOWN]]
    lines += [f"  and {len(overlaps) - _SHOWN} more"] * (len(overlaps) > _SHOWN)
    cure = "train on others, too" if left_out else "set data.overlap to leave_out, which trains without them"
    return UserError("\n".join([*lines, f"Take them out of one of the corpora, or {cure}."]))


class Index:
    """The features of all evaluation images and their mirror images, found by 32 of their bits."""

    def __init__(self, prints: Sequence[Sequence[Fingerprint]]) -> None:
        """
        Args:
            prints: of every image its fingerprint, and that of its mirror image.
        """
        every = [one for both in prints for one in both]
        self._places = np.concatenate([one.places for one in every])
        self._descriptors = np.concatenate([one.descriptors for one in every])
        self._owner = np.repeat(np.arange(len(every)), [len(one.places) for one in every])
        self._crowd = max(64, len(every))  # features with the same bits, above which these say nothing
        self._words = []
        for word in _words(self._descriptors):
            order = np.argsort(word, kind="stable")
            self._words.append((word[order], order.astype(np.int32)))

    def placements(self, own: Fingerprint) -> Iterator[tuple[int, Placement]]:
        """Yields every image that features of a fingerprint agree on: its number, and the placement in it."""
        mine, theirs = self._pairs(own.descriptors)
        place, other = own.places[mine], self._places[theirs]
        turn = (other[:, 3] - place[:, 3] + 45) % 360
        upright = np.abs(turn % 90 - 45) < _TURN
        size = np.log2(other[:, 2] / place[:, 2]) / _STEP
        best: dict[int, tuple[int, Placement]] = {}
        for shift in (0.0, 0.5):  # so that no scale lies at an edge
            step = np.floor(size + shift).astype(np.int64) + 32
            group = (self._owner[theirs] * 4 + (turn // 90).astype(np.int64)) * 64 + step
            for rows in _groups(group, upright):
                agreed = _agreed(place[rows], other[rows])
                if agreed:
                    owner = int(self._owner[theirs[rows[0]]])
                    count, matrix = agreed
                    if count > best.get(owner // 2, (0,))[0]:
                        best[owner // 2] = count, Placement(matrix=matrix, mirrored=bool(owner % 2))
        for number in sorted(best):
            yield number, best[number][1]

    def _pairs(self, descriptors: NDArray[np.uint8]) -> tuple[Ints, Ints]:
        """Numbers of features that are alike: among `descriptors`, and in the index."""
        found = [np.zeros(0, np.int64)]
        for word, (known, order) in zip(_words(descriptors), self._words, strict=True):
            first = np.searchsorted(known, word, "left")
            count = np.searchsorted(known, word, "right") - first
            count[count > self._crowd] = 0
            mine = np.repeat(np.arange(len(word)), count)
            within = np.arange(len(mine)) - np.repeat(np.cumsum(count) - count, count)
            theirs = order[np.repeat(first, count) + within]
            differing = (descriptors[mine] ^ self._descriptors[theirs]).view(np.uint64)
            near = np.bitwise_count(differing).sum(axis=1) <= _NEAR
            found.append(mine[near] * len(self._owner) + theirs[near])
        pairs = np.unique(np.concatenate(found))
        return pairs // max(1, len(self._owner)), pairs % max(1, len(self._owner))


def _fingerprints(
    corpora: Sequence[Corpus], store: Store, workers: int, *, mirrored: bool
) -> Iterator[tuple[int, list[Fingerprint]]]:
    """Yields the number of every image, counted over all corpora, and its fingerprint (and its mirror image's)."""
    jobs, firsts, first = [], [], 0
    for corpus in corpora:
        for group in _neighbours(corpus.images):
            jobs.append(FingerprintJob(sources=group, mirrored=mirrored, store=store))
            firsts.append(first)
            first += len(group)
    each = 1 + mirrored
    for job, made in carry_out(fingerprints, jobs, workers, unit="fingerprint"):
        for place in range(0, len(made), each):
            yield firsts[job] + place // each, made[place : place + each]


def _neighbours(images: Sequence[Source]) -> Iterator[tuple[Source, ...]]:
    """Groups of images that follow each other. Where one ends is up to its last image, so that one image more, or
    fewer, makes another group of its neighbours only."""
    group = list[Source]()
    for image in images:
        group.append(image)
        if image.sha256.startswith("0") or len(group) == _MOST:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _words(descriptors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The descriptors as 8 words of 32 bits: (8, features). Of the same feature at least one is mostly the same."""
    return np.ascontiguousarray(descriptors.view(np.uint32).T)


def _groups(group: Ints, valid: NDArray[np.bool_]) -> Iterator[Ints]:
    """The numbers of the rows of every group that has at least LEAST_FEATURES valid ones."""
    rows = np.flatnonzero(valid)
    rows = rows[np.argsort(group[rows], kind="stable")]
    _, first, count = np.unique(group[rows], return_index=True, return_counts=True)
    for place in np.flatnonzero(count >= LEAST_FEATURES):
        yield rows[first[place] : first[place] + count[place]]


def _agreed(place: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[int, NDArray[np.float64]] | None:
    """The similarity that most pairs of features agree on, and how many do; None if they are too few, or only seem to.

    Args:
        place: (pairs, 4), places in the training image, as in a fingerprint.
        other: (pairs, 4), places in the evaluation image; all are turned by the same quarter, and scaled about alike.
    """
    tolerance = float(np.median(other[:, 2])) / 8  # of the width of a feature
    points = (np.ascontiguousarray(side[:, :2]) for side in (place, other))
    matrix, inside = opencv().estimateAffinePartial2D(*points, ransacReprojThreshold=tolerance, maxIters=200)
    if matrix is None:
        return None
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    expected = float(np.median(other[:, 2] / place[:, 2]))
    if not 0.75 < scale / expected < 1.33:
        return None
    quarter = (other[0, 3] - place[0, 3] + 45) // 90  # the same for all pairs, up to whole turns
    tilt = (np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) - 90 * quarter + 180) % 360 - 180
    if abs(tilt) > _TURN / 2:
        return None
    # Features of several sizes at one corner count once.
    rows = inside.ravel() > 0
    apart = [len(np.unique(np.round(4 * side[rows, :2] / side[rows, 2:3]), axis=0)) for side in (place, other)]
    return (min(apart), matrix) if min(apart) >= LEAST_FEATURES else None


def _confirmed(suspicion: _Suspicion) -> list[str]:
    """How each evaluation image is shown by the training image; "" where it is not."""
    train = _read(suspicion.train)
    told = []
    for source, placement in suspicion.evaluation:
        found = agreement(train, _read(source), placement)
        same = found is not None and found.same_picture
        told.append(f"{found.how}, correlation {found.correlation:.2f}" if found and same else "")
    return told


def _read(source: Source) -> NDArray[np.uint8]:
    return grey(decode(source.read(), source.path)[0])
