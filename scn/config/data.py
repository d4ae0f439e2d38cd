"""Where images and shards lie, and how images are cut: the sections `storage`, `corpora`, `data`, `evaluate`."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from scn.core.schema import Section


class StorageConfig(Section):
    """The store."""

    url: str = "file://.scn/store"
    """Where shards, checkpoints and versions lie: `file://folder` or `s3://bucket/prefix`."""


class CorporaConfig(Section):
    """Where images come from; see docs/corpora.md."""

    root: str = "corpora"
    """A folder with copies of corpora, NAME or NAME/SPLIT in it; downloads go there. $SCN_CORPORA goes before it."""
    download: dict[str, str] = Field(default={})
    """Name -> `catalogue`, or the URL of an archive of images, whose checksum may follow as `#sha256=...`."""
    local: dict[str, str] = Field(default={})
    """Name -> a folder of images, or an archive of them."""

    @model_validator(mode="after")
    def _names(self) -> "CorporaConfig":
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"'{name}' is no name: use letters, digits, '_' and '-'")
        for name, place in self.local.items():
            if place.startswith("~"):  # DVC, which watches it, would look for a folder of this name
                raise ValueError(f"local.{name}: '{place}' is no path for DVC: write it without '~'")
        if twice := sorted(self.download.keys() & self.local.keys()):
            raise ValueError(f"'{twice[0]}' is named under download and under local: rename one")
        return self

    @property
    def names(self) -> list[str]:
        return [*self.download, *self.local]


class DataConfig(Section):
    """The images of an experiment, and how they are cut and stored."""

    train: list[str] = Field(min_length=1)
    """Corpora to train on: `NAME`, or `NAME/SPLIT` for one split (of a folder: a sub-folder)."""
    evaluation: list[str] = Field(min_length=1)
    """Corpora to measure on; no image may be in `train` too."""
    sub_image: int = Field(default=480, ge=0)
    """Side in pixels of the sub-images that training images are cut into; 0: whole images."""
    stride: int = Field(default=240, ge=1)
    """Pixels from one sub-image to the next."""
    levels: list[int] = Field(default=[])
    """Levels of the task whose degraded images lie in the same shards, so that experiments share the originals;
    empty: the experiment's own alone."""
    encoding: Literal["npy", "png"] = "npy"
    """Of the images in the shards; see docs/decisions/0005."""
    png_level: int = Field(default=1, ge=0, le=9)
    """zlib's compression level for png."""
    shard_mib: int = Field(default=128, ge=1)
    """The size that shards come close to, in MiB of uncompressed pixels, where there are images enough."""
    min_shards: int = Field(default=1, ge=1)
    """Training images are spread over so many shards at least, for loops that have as many readers."""
    unusable: Literal["stop", "skip"] = "stop"
    """What to do about a training image that can't be used: stop, or leave it out and name it in the manifest."""

    @field_validator("evaluation")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError("names an evaluation set twice")
        return names

    @model_validator(mode="after")
    def _covers(self) -> "DataConfig":
        if 0 < self.sub_image < self.stride:
            raise ValueError(f"stride: {self.stride} leaves gaps between sub-images of {self.sub_image} pixels")
        return self


class EvaluateConfig(Section):
    """How a model is measured."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """The precision that networks compute in where they are measured."""
