"""Fingerprints of images: features by which the same picture is found again, whatever was done to it.

A feature is a corner with a descriptor of the pixels around it: 256 bits that a change of format, size, brightness or
direction hardly alters (ORB: Rublee et al., ICCV 2011; OpenCV's implementation). They are spread evenly over the image,
so that a piece of it has a share of them.

Fingerprints are kept in the store, under the hashes of the files, so that the next experiment on the same corpora
finds them there.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from scn.core.errors import UserError
from scn.core.hashing import code_sha256, digest, sources
from scn.corpora.corpora import Source
from scn.corpora.images import decode, found_pillow, pixels_sha256, room_for_image
from scn.storage.base import ObjectNotFound, Store

Image = NDArray[np.uint8]

LONGEST = 2048
"""Longest side in pixels in which features are looked for; larger images are reduced to it."""
SHORT = 512
"""Images up to this side are doubled, as a corner's surroundings are 31 pixels wide."""
SMALLEST = 32
"""Shortest side in pixels, after that, of an image with features; ORB reduces it by up to 5 and needs a few pixels."""
FEATURES = 1500
"""Largest number of features of an image."""
CELLS = 8
"""Rows, and columns, of cells that take turns in giving their strongest feature."""


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What one image, or its mirror image, is found by."""

    pixels: str
    """SHA-256 of the pixels: the same in every file format, and for grey in one channel or in three; "" if the image
    can't be decoded."""
    places: NDArray[np.float32]
    """(features, 4): x, y and width of each feature's surroundings in pixels of the image, and its angle in degrees."""
    descriptors: NDArray[np.uint8]
    """(features, 32): the 256 bits of each feature."""


@dataclass(frozen=True, kw_only=True)
class FingerprintJob:
    """A few images of a corpus whose fingerprints are wanted."""

    sources: tuple[Source, ...]
    mirrored: bool
    """True: of the mirror images, too."""
    store: Store
    """The store that keeps the fingerprints."""


def fingerprints(job: FingerprintJob) -> list[Fingerprint]:
    """Finds the fingerprints of a job's images in the store, or makes them and puts them there.

    Returns:
        The fingerprint of each image, in their order; with `mirrored` that of its mirror image after each.
    """
    identity = [_code(), [source.sha256 for source in job.sources], job.mirrored]
    key = f"fingerprints/{digest(identity)}.npz"
    try:
        return _unpacked(job.store.get(key))
    except (ObjectNotFound, ValueError, KeyError, EOFError, BadZipFile):  # not there, or damaged
        made = list[Fingerprint]()
        for source in job.sources:
            with room_for_image(source.path):
                made += _of_file(source, job.mirrored)
    if all(one.pixels for one in made):  # another build of Pillow may decode the others
        job.store.put(key, _packed(made), names_content=True)
    return made


def fingerprint(pixels: Image) -> Fingerprint:
    """The fingerprint of an image.

    Args:
        pixels: uint8 (H, W) or (H, W, 3).
    """
    image = grey(pixels)
    places, descriptors = _features(image)
    one = pixels[..., 0] if _is_grey(pixels) else pixels
    return Fingerprint(pixels=pixels_sha256(one), places=places, descriptors=descriptors)


def grey(pixels: Image) -> Image:
    """The luma (ITU-R BT.601, full range) of an image (H, W, 3), or a grey image as it is: uint8 (H, W)."""
    return np.asarray(opencv().cvtColor(pixels, opencv().COLOR_RGB2GRAY)) if pixels.ndim == 3 else pixels


@cache
def opencv() -> Any:
    """The module cv2, which computes in one thread, as Ray runs a task on every CPU."""
    import cv2

    cv2.setNumThreads(1)
    return cv2


def _features(image: Image) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Places (n, 4) and descriptors (n, 32) of the strongest features of every part of a grey image."""
    cv2, nothing = opencv(), (np.zeros((0, 4), np.float32), np.zeros((0, 32), np.uint8))
    factor = 2.0 if max(image.shape) <= SHORT else min(1.0, LONGEST / max(image.shape))
    if min(image.shape) * factor < SMALLEST:
        return nothing
    if factor != 1:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)
    found, descriptors = _orb().detectAndCompute(np.ascontiguousarray(image), None)
    if not found:
        return nothing
    rows = np.array([(*one.pt, one.size, one.angle, one.response) for one in found], np.float32)
    row, column = (rows[:, axis] * CELLS // image.shape[1 - axis] for axis in (1, 0))
    cell = row * CELLS + column
    order = np.lexsort((-rows[:, 4], cell))
    rank = np.arange(len(order)) - np.searchsorted(cell[order], cell[order])  # in the feature's cell
    chosen = order[np.argsort(rank, kind="stable")[:FEATURES]]
    places = rows[chosen, :4]
    places[:, :3] /= factor
    return places, descriptors[chosen]


@cache
def _orb() -> Any:
    # Ten sizes, each 1.2 times the last, so images may differ in size by 5; corners of little contrast count, too.
    return opencv().ORB_create(nfeatures=5000, scaleFactor=1.2, nlevels=10, edgeThreshold=16, fastThreshold=5)


@cache
def _code() -> list[str]:
    """Everything that decides a fingerprint besides the image."""
    own = code_sha256(sources("data_prep/fingerprints.py", "scn/corpora/images.py"))
    return [own, opencv().__version__, found_pillow()]


def _of_file(source: Source, mirrored: bool) -> list[Fingerprint]:
    data = source.read()
    try:
        pixels = decode(data, source.path)[0]
    except UserError:  # is told when shards are made of it
        nothing = Fingerprint(pixels="", places=np.zeros((0, 4), np.float32), descriptors=np.zeros((0, 32), np.uint8))
        return [nothing] * (1 + mirrored)
    return [fingerprint(image) for image in (pixels, np.ascontiguousarray(pixels[:, ::-1]))[: 1 + mirrored]]


def _packed(made: Sequence[Fingerprint]) -> bytes:
    file = io.BytesIO()
    np.savez(
        file,
        pixels=np.array([one.pixels for one in made], "S64"),
        counts=np.array([len(one.places) for one in made]),
        places=np.concatenate([one.places for one in made]),
        descriptors=np.concatenate([one.descriptors for one in made]),
    )
    return file.getvalue()


def _unpacked(data: bytes) -> list[Fingerprint]:
    with np.load(io.BytesIO(data)) as file:
        ends = np.cumsum(file["counts"])[:-1]
        places, descriptors = (np.split(file[name], ends) for name in ("places", "descriptors"))
        rows = zip(file["pixels"], places, descriptors, strict=True)
        return [Fingerprint(pixels=a.decode(), places=b, descriptors=c) for a, b, c in rows]


def _is_grey(pixels: Image) -> bool:
    """True if an RGB image has three equal channels; the first row is tried first, as colours mostly show there."""
    return pixels.ndim == 3 and all((part == part[..., :1]).all() for part in (pixels[:1], pixels))
