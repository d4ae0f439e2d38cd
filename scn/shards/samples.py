"""Samples: the members of a shard, which data preparation writes and training and evaluation read.

A shard is a WebDataset tar. Each sample is an image, or one of the sub-images that it was cut into:
    <key>.hr.npy        uint8 (H, W, 3) or (H, W): the target
    <key>.lr<level>.npy uint8: the target degraded at a level, where the task stores it (tasks.Task.stored)
    <key>.up.npy        uint8, as hr: lr enlarged by bicubic interpolation, in evaluation sets of super-resolution
    <key>.json          the sample's About
With `data.encoding: png` the images are <key>.hr.png and so on. Keys sort by image, then by sub-image.
"""

import hashlib
import io
import tarfile
import zlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import features
from pydantic import BaseModel, ConfigDict

from scn.core.errors import UserError
from scn.shards.manifest import Shard
from scn.storage.base import ObjectNotFound, Store

Image = NDArray[np.uint8]
Encoding = Literal["npy", "png"]


class About(BaseModel):
    """The member `json` of a sample: its image, and the sample's place in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """Name of the image in its corpus."""
    sha256: str = ""
    """SHA-256 of the image's file, in hexadecimal."""
    index: int = 0
    """Number of the image in its set."""
    part: int = 0
    """Number of the sub-image in the image, from 0."""
    parts: int = 1
    """Number of sub-images that the image was cut into."""
    top: int = 0
    """Top edge of the sample in the whole target, in pixels."""
    left: int = 0
    """Left edge of the sample in the whole target, in pixels."""
    height: int
    """Height of the whole target in pixels."""
    width: int
    """Width of the whole target in pixels."""

    @property
    def key(self) -> str:
        """The sample's key in its shard: the image's number and the sub-image's."""
        return f"{self.index:08d}-{self.part:04d}"

    @staticmethod
    def image(key: str) -> int:
        """The number of the image that a sample's key begins with."""
        return int(key.partition("-")[0])


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image of a set or one of its sub-images: uint8, (H, W) or (H, W, 3)."""

    about: About
    hr: Image
    """The target."""
    lr: Image | None = None
    """The degraded target, if it is stored."""
    up: Image | None = None
    """The bicubic enlargement of `lr`, if it is stored."""

    @property
    def name(self) -> str:
        """Name of the image in its corpus."""
        return self.about.name


def encode(arrays: Mapping[str, Image], encoding: Encoding, png_level: int) -> dict[str, bytes]:
    """Encodes the images of a sample.

    Args:
        arrays: name ("hr", "lr2", ...) -> uint8 image.
        png_level: effort of zlib for png, from 0 (no compression) to 9 (slowest).
    Returns:
        Suffix of the member ("hr.npy", ...) -> its content.
    """
    if encoding == "npy":
        return {f"{name}.npy": _npy(array) for name, array in arrays.items()}
    return {f"{name}.png": _png(array, png_level) for name, array in arrays.items()}


def decode(members: Mapping[str, bytes], level: int) -> Sample:
    """Decodes a sample.

    Args:
        members: suffix ("hr.npy", ..., "json") -> content.
        level: strength of the degradation whose image is taken, if there is one.
    """
    images = {}
    for suffix, content in members.items():
        name, _, encoding = suffix.partition(".")
        if name in ("hr", "up", f"lr{level}"):
            # A PNG of ours is never too large: it was made from an image that passed Pillow's limit.
            array = np.load(io.BytesIO(content)) if encoding == "npy" else np.array(Pillow.open(io.BytesIO(content)))
            images[name] = cast(Image, array)
    about = About.model_validate_json(members["json"])
    return Sample(about=about, hr=images["hr"], lr=images.get(f"lr{level}"), up=images.get("up"))


def unpack(shard: bytes, level: int, images: Container[int] | None = None) -> Iterator[Sample]:
    """Yields the samples in the content of a shard, in the order of their keys.

    Args:
        level: strength of the degradation whose images are taken.
        images: numbers of the images whose samples are wanted; None: all.
    """
    members: dict[str, dict[str, bytes]] = {}
    # The hash has been checked, so the tar is the one that was written: no streaming reader is needed.
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            if images is None or About.image(key) in images:
                members.setdefault(key, {})[suffix] = cast(io.BufferedReader, tar.extractfile(member)).read()
    for key in sorted(members):
        yield decode(members.pop(key), level)


def read_shard(store: Store, shard: Shard, experiment: str | None) -> bytes:
    """Reads a shard from the store and checks it.

    Args:
        experiment: the one whose DVC stage makes the shard (`stage` of its manifest), to name it where the shard is
            damaged; None: it may have been made by hand, of other images, which no stage would make again.
    Raises:
        UserError: naming the shard, if it is missing or its size or SHA-256 is not the manifest's.
    """
    again = made_again_by(experiment)
    try:
        data = store.get(shard.key)
    except ObjectNotFound:
        raise UserError(
            f"The shard {shard.key} is not in {store.url}: make it again with {again}, "
            "or set storage.url to the store that has it."
        ) from None
    if len(data) != shard.bytes:
        found = f"it has {len(data)} bytes, the manifest says {shard.bytes}"
    elif hashlib.sha256(data).hexdigest() != shard.sha256:
        found = "its SHA-256 is not the manifest's"
    else:
        return data
    raise UserError(f"The shard {shard.key} in {store.url} is damaged ({found}): make it again with {again}.")


def made_again_by(experiment: str | None) -> str:
    """The command that makes shards again, for a message; `experiment` as read_shard takes it."""
    if experiment is None:
        return "the `data-prep shard` command that made its manifest"
    return f"`dvc repro --force --single-item shard@{experiment}`"


def codec(encoding: Encoding) -> str:
    """Name and version of the encoder, on which the bytes of a member depend besides the pixels."""
    if encoding == "npy":
        return "npy 1.0"
    return f"png, zlib {features.version('zlib') or zlib.ZLIB_RUNTIME_VERSION}"


def _npy(image: Image) -> bytes:
    image = np.ascontiguousarray(image)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(image))
    return b"".join((header.getvalue(), image.data))  # write_array would copy it twice


def _png(image: Image, compression: int) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "PNG", compress_level=compression)
    return file.getvalue()
