"""Makes one shard of images and puts it into the store.

A shard is a function of its images, of the task and of params.yaml's `data` alone: members in sorted order, fixed tar
headers, encoders whose bytes are known. So the same input gives the same bytes on every machine.

A record of the result is stored too, under the hash of everything that decides the shard. A run that was killed finds
the record when it is started again, and makes only the shards that are missing.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import lcm

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from data_prep.packing import Piece, windows
from scn.config.params import DataConfig
from scn.core.errors import UserError
from scn.core.hashing import code_sha256, digest, sources
from scn.corpora import images
from scn.corpora.corpora import Source
from scn.corpora.images import decode, pixels_sha256, room_for_image
from scn.imaging.degradation import bicubic_upscale, degrade, modcrop, to_channels
from scn.imaging.tasks import TASKS, Task
from scn.shards.manifest import Shard
from scn.shards.samples import About, codec, encode
from scn.storage.base import ObjectNotFound, Store

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ShardSpec:
    """Specification of a set's shards: how its images become samples."""

    task_name: str
    """Name of the restoration task."""
    levels: tuple[int, ...]
    """Levels of the degraded images that are stored."""
    training: bool
    """True for a training set; False for an evaluation set, whose images stay whole."""
    data: DataConfig
    """The section `data` of the experiment."""

    @property
    def task(self) -> Task:
        """The restoration task."""
        return TASKS[self.task_name]

    @property
    def multiple(self) -> int:
        """Number of pixels that the sides of every target are multiples of."""
        return lcm(1, *map(self.task.scale, self.levels))

    def places(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Top, bottom, left and right of the sub-images of an image of height x width pixels, in its target."""
        size = self.data.sub_image if self.training else 0
        sides = [windows(side - side % self.multiple, size, self.data.stride) for side in (height, width)]
        return [(*rows, *columns) for rows, columns in product(*sides)]

    def identity(self) -> dict[str, object]:
        """Everything that decides the bytes of a shard besides its images, as a value for JSON."""
        about: dict[str, object] = {
            "code": data_code(),
            "codec": codec(self.data.encoding),
            "pil": images.found_pillow(),
            "task": self.task_name,
            "levels": self.levels,
            "training": self.training,
        }
        names = ["sub_image", "stride", "encoding", "unusable"] + ["png_level"] * (self.data.encoding == "png")
        names += ["edges"] * (self.multiple > 1)  # where nothing is resized they change no pixel
        return about | {name: getattr(self.data, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything that a worker needs to make one shard."""

    spec: ShardSpec
    number: int
    """Number of the shard in its set, from 0."""
    pieces: tuple[Piece, ...]
    """Images of the shard, or the sub-images of them that it holds."""
    sources: tuple[Source, ...]
    """Image file of each piece."""
    store: Store
    """The store that the shard is put into."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageMade(_Record):
    """Result for one image of a shard."""

    index: int
    """Number of the image in its set."""
    name: str
    """Name of the image in its corpus."""
    content: str = ""
    """SHA-256 of the target and its degraded versions."""
    converted: list[str] = []
    """Conversions that the pixels went through (scn.corpora.images)."""
    refused: str = ""
    """Sentence that says why the image could not be used; "" if it could."""


class ShardMade(_Record):
    """Result of making one shard."""

    shard: Shard | None
    """The shard; None if none of its images could be used."""
    images: list[ImageMade]
    """Result for each of its images."""


def make_shard(job: ShardJob) -> tuple[ShardMade, bool]:
    """Decodes, degrades, cuts and stores the images of one shard.

    Returns:
        The result, and True if the shard was in the store already, undamaged.
    Raises:
        UserError: naming the first image that can't be used, or that memory does not suffice for, or the store that
            can't be written to.
    """
    task = job.spec.task_name
    rows = [
        (piece.image, piece.first, piece.last, source.name, source.sha256)
        for piece, source in zip(job.pieces, job.sources, strict=True)
    ]
    record = f"shards/{task}/made/{digest([job.spec.identity(), job.number, rows])}.json"
    if found := _stored(job.store, record):
        return found, True

    _tar.clear()
    samples, made, sizes = 0, [], dict[int, tuple[int, int]]()
    for piece, source in zip(job.pieces, job.sources, strict=True):
        data = source.read()
        with room_for_image(source.path):
            try:
                pixels, converted = decode(data, source.path)
            except UserError as error:
                if not job.spec.training or job.spec.data.unusable == "stop":
                    raise
                made.append(ImageMade(index=piece.image, name=source.name, refused=without_path(error, source)))
                continue
            target, degraded = _degraded(pixels, job.spec)
        whole = pixels_sha256(pixels)
        # A target of the same shape is the image itself (scn.imaging.degradation.to_channels).
        parts = [
            whole if target.shape == pixels.shape else pixels_sha256(target),
            *map(pixels_sha256, degraded.values()),
        ]
        made.append(
            ImageMade(
                index=piece.image,
                name=source.name,
                content=digest(parts),
                converted=converted,
            )
        )
        samples += _add_samples(piece, source, target, degraded, job.spec)
        sizes[piece.image] = target.shape[0], target.shape[1]
    shard = None
    if samples:
        with _tar.content() as content:
            sha256 = hashlib.sha256(content).hexdigest()
            key = f"shards/{task}/{sha256[:32]}/{job.number:06d}.tar"
            job.store.put(key, content, sha256=sha256, names_content=True)
            shard = Shard(key=key, bytes=len(content), sha256=sha256, samples=samples, images=sizes)
    result = ShardMade(shard=shard, images=made)
    job.store.put(record, result.model_dump_json().encode(), names_content=True)
    return result, False


@cache
def data_code() -> str:
    """SHA-256 of the Python sources that decide the content of a shard."""
    own = ("scn/corpora/images.py", "data_prep/packing.py", "data_prep/shards.py")
    return code_sha256(sources(*own, "scn/imaging/degradation.py", "scn/shards/samples.py", "scn/imaging/tasks.py"))


def without_path(error: UserError, source: Source) -> str:
    """The error's sentence with the image's name in place of its path, so that it is the same on any machine."""
    return str(error).replace(str(source.path), source.name)


def _degraded(pixels: Image, spec: ShardSpec) -> tuple[Image, dict[str, Image]]:
    """The target, and the images that are stored beside it by name (see scn.shards.samples)."""
    task = spec.task
    enlarged = task.scale(2) > 1 and not spec.training
    target = modcrop(pixels, spec.multiple)
    if not enlarged:  # to be measured, a grey photograph stays grey, as in the papers' bicubic rows
        target = to_channels(target, task.channels)
    stored = {f"lr{level}": degrade(target, task, level, spec.data.edges) for level in spec.levels}
    degraded = {name: image for name, image in stored.items() if image is not None}
    if enlarged:
        degraded["up"] = bicubic_upscale(degraded[f"lr{spec.levels[0]}"], task.scale(spec.levels[0]), spec.data.edges)
    return target, degraded


def _add_samples(piece: Piece, source: Source, target: Image, degraded: Mapping[str, Image], spec: ShardSpec) -> int:
    places = spec.places(*target.shape[:2])
    for part in range(piece.first, piece.last):
        top, bottom, left, right = places[part]
        arrays = {"hr": target[top:bottom, left:right]}
        for name, image in degraded.items():
            scale = target.shape[0] // image.shape[0]
            arrays[name] = image[top // scale : bottom // scale, left // scale : right // scale]
        about = About(
            name=source.name,
            sha256=source.sha256,
            index=piece.image,
            part=part,
            parts=len(places),
            top=top,
            left=left,
            height=target.shape[0],
            width=target.shape[1],
        )
        members = encode(arrays, spec.data.encoding, spec.data.png_level)
        members["json"] = about.model_dump_json().encode()
        for suffix, content in sorted(members.items()):
            _tar.add(f"{about.key}.{suffix}", content)
    return piece.last - piece.first


class Tar:
    """A tar file in memory. Every process reuses one: fresh memory costs as much time as filling it."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def clear(self) -> None:
        """Begins a new tar."""
        self._file.seek(0)

    def add(self, name: str, content: bytes) -> None:
        """Adds a member. Its USTAR header holds name and size only: no times, users or process ids."""
        header = tarfile.TarInfo(name)
        header.size = len(content)
        self._file.write(header.tobuf(tarfile.USTAR_FORMAT))
        self._file.write(content)
        self._file.write(bytes(-len(content) % tarfile.BLOCKSIZE))

    @contextmanager
    def content(self) -> Iterator[memoryview]:
        """Context manager that gives the content of the tar: all members since `clear`."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))
        with self._file.getbuffer() as whole, whole[: self._file.tell()] as used:
            yield used


_tar = Tar()


def _stored(store: Store, record: str) -> ShardMade | None:
    """The result of an earlier run for the same job, if the store still holds the shard undamaged; otherwise None."""
    try:
        made = ShardMade.model_validate_json(store.get(record))
    except (ObjectNotFound, ValidationError):
        return None
    shard = made.shard
    return made if shard is None or store.holds(shard.key, sha256=shard.sha256, size=shard.bytes) else None
