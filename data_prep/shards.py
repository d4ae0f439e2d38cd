"""Images -> one shard in the store.

A shard is a function of its images, of the task and of params.yaml's `data` alone: members in sorted order, fixed tar
headers, encoders whose bytes are known. So the same input gives the same bytes, whoever makes it.

A record of what came of it is stored too, under the hash of everything that the shard is a function of. A run that
was killed finds it, and makes only what was not stored.
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

from data_prep import images
from data_prep.corpora import Source
from data_prep.images import decode
from data_prep.packing import Piece, windows
from scn.config.params import DataConfig
from scn.core.errors import UserError
from scn.core.hashing import code_sha256, digest, sources
from scn.imaging.degradation import bicubic_upscale, degrade, modcrop, to_channels
from scn.imaging.tasks import TASKS, Task
from scn.shards.manifest import Shard
from scn.shards.samples import About, codec, encode
from scn.storage.base import ObjectNotFound, Store

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the images of a set become samples; the same for all its shards."""

    task_name: str
    levels: tuple[int, ...]
    """Whose degraded images are stored."""
    training: bool
    """Of a training set; otherwise of an evaluation set, whose images stay whole."""
    data: DataConfig

    @property
    def task(self) -> Task:
        return TASKS[self.task_name]

    @property
    def multiple(self) -> int:
        """Sides of the target are multiples of this many pixels."""
        return lcm(1, *map(self.task.scale, self.levels))

    def places(self, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """(top, bottom, left, right) of the sub-images of an image of this size, in the target."""
        size = self.data.sub_image if self.training else 0
        sides = [windows(side - side % self.multiple, size, self.data.stride) for side in (height, width)]
        return [(*rows, *columns) for rows, columns in product(*sides)]

    def identity(self) -> dict[str, object]:
        """What decides the bytes of a shard, besides its images."""
        about: dict[str, object] = {
            "code": data_code(),
            "codec": codec(self.data.encoding),
            "pil": images.found_pillow(),
            "task": self.task_name,
            "levels": self.levels,
            "training": self.training,
        }
        names = ["sub_image", "stride", "encoding", "unusable"] + ["png_level"] * (self.data.encoding == "png")
        return about | {name: getattr(self.data, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """Everything that makes one shard; goes to a worker."""

    recipe: Recipe
    number: int
    """Of the shard in its set."""
    pieces: tuple[Piece, ...]
    sources: tuple[Source, ...]
    """The image of each piece."""
    store: Store


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageMade(_Record):
    """What became of an image."""

    index: int
    name: str
    pixels: str = ""
    """SHA-256 of the pixels, whatever file format they came in, and whether grey is stored once or three times."""
    content: str = ""
    """SHA-256 of the target and its degraded versions."""
    converted: list[str] = []
    refused: str = ""
    """Why it could not be used."""


class ShardMade(_Record):
    """What came of a job."""

    shard: Shard | None
    """None if none of its images could be used."""
    images: list[ImageMade]


def make_shard(job: ShardJob) -> tuple[ShardMade, bool]:
    """Decodes, degrades, cuts and stores the images of one shard.

    Returns:
        What came of it, and whether it was in the store already, whole and undamaged.
    Raises:
        UserError: naming the first image that can't be used, or the store that can't be written to.
    """
    task = job.recipe.task_name
    rows = [
        (piece.image, piece.first, piece.last, source.name, source.sha256)
        for piece, source in zip(job.pieces, job.sources, strict=True)
    ]
    record = f"shards/{task}/made/{digest([job.recipe.identity(), job.number, rows])}.json"
    if found := _stored(job.store, record):
        return found, True

    _tar.clear()
    samples, made, sizes = 0, [], dict[int, tuple[int, int]]()
    for piece, source in zip(job.pieces, job.sources, strict=True):
        data = source.read()
        try:
            pixels, converted = decode(data, source.path)
        except UserError as error:
            if not job.recipe.training or job.recipe.data.unusable == "stop":
                raise
            made.append(ImageMade(index=piece.image, name=source.name, refused=without_path(error, source)))
            continue
        target, degraded = _degraded(pixels, job.recipe)
        whole = _sha256(pixels)
        # A target of the same shape is the image itself (scn.imaging.degradation.to_channels).
        parts = [whole if target.shape == pixels.shape else _sha256(target), *map(_sha256, degraded.values())]
        made.append(
            ImageMade(
                index=piece.image,
                name=source.name,
                pixels=_sha256(pixels[..., 0]) if _is_grey(pixels) else whole,
                content=digest(parts),
                converted=converted,
            )
        )
        samples += _add_samples(piece, source, target, degraded, job.recipe)
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
    """SHA-256 of the sources that decide what is in a shard."""
    own = ("data_prep/images.py", "data_prep/packing.py", "data_prep/shards.py")
    return code_sha256(sources(*own, "scn/imaging/degradation.py", "scn/shards/samples.py", "scn/imaging/tasks.py"))


def without_path(error: UserError, source: Source) -> str:
    """The sentence as a manifest holds it, which is the same on any machine."""
    return str(error).replace(str(source.path), source.name)


def _degraded(pixels: Image, recipe: Recipe) -> tuple[Image, dict[str, Image]]:
    """The target and what is stored beside it, by name (see scn.shards.samples)."""
    task = recipe.task
    enlarged = task.scale(2) > 1 and not recipe.training
    target = modcrop(pixels, recipe.multiple)
    if not enlarged:  # to be measured, a grey photograph stays grey, as in the papers' bicubic rows
        target = to_channels(target, task.channels)
    stored = {f"lr{level}": degrade(target, task, level) for level in recipe.levels}
    degraded = {name: image for name, image in stored.items() if image is not None}
    if enlarged:
        degraded["up"] = bicubic_upscale(degraded[f"lr{recipe.levels[0]}"], task.scale(recipe.levels[0]))
    return target, degraded


def _add_samples(piece: Piece, source: Source, target: Image, degraded: Mapping[str, Image], recipe: Recipe) -> int:
    places = recipe.places(*target.shape[:2])
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
        members = encode(arrays, recipe.data.encoding, recipe.data.png_level)
        members["json"] = about.model_dump_json().encode()
        for suffix, content in sorted(members.items()):
            _tar.add(f"{about.key}.{suffix}", content)
    return piece.last - piece.first


class Tar:
    """A tar in memory. Every process has one, used again and again: fresh memory costs as much as what fills it."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def clear(self) -> None:
        self._file.seek(0)

    def add(self, name: str, content: bytes) -> None:
        """USTAR headers hold nothing but what is set here: no times, users or process ids."""
        header = tarfile.TarInfo(name)
        header.size = len(content)
        self._file.write(header.tobuf(tarfile.USTAR_FORMAT))
        self._file.write(content)
        self._file.write(bytes(-len(content) % tarfile.BLOCKSIZE))

    @contextmanager
    def content(self) -> Iterator[memoryview]:
        """All that was added since `clear`, as a tar."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.write(bytes(-self._file.tell() % tarfile.RECORDSIZE))
        with self._file.getbuffer() as whole, whole[: self._file.tell()] as used:
            yield used


_tar = Tar()


def _stored(store: Store, record: str) -> ShardMade | None:
    """What an earlier run made of the same job, if the store still holds it undamaged."""
    try:
        made = ShardMade.model_validate_json(store.get(record))
    except (ObjectNotFound, ValidationError):
        return None
    shard = made.shard
    return made if shard is None or store.holds(shard.key, sha256=shard.sha256, size=shard.bytes) else None


def _is_grey(pixels: Image) -> bool:
    """Whether an RGB image has three equal channels; colours show in the first row as a rule."""
    return pixels.ndim == 3 and all((part == part[..., :1]).all() for part in (pixels[:1], pixels))


def _sha256(image: Image) -> str:
    whole = hashlib.sha256(str(image.shape).encode())
    whole.update(np.ascontiguousarray(image).data)
    return whole.hexdigest()
