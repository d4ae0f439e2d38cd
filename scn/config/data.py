"""The sections `storage`, `registry`, `collect`, `corpora`, `data` and `evaluate` of params.yaml."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from scn.core.schema import Section


class StorageConfig(Section):
    """Section `storage` of params.yaml: where the store is."""

    url: str = "file://.scn/store"
    """Where shards, checkpoints and versions lie: `file://folder` or `s3://bucket/prefix`."""
    single_writer: bool = False
    """Nobody else ever publishes there: a service that does not keep conditional writes, which `scn store check` finds,
    is then good enough for publishing."""


class RegistryConfig(Section):
    """Section `registry` of params.yaml: which published versions serve, and which are kept."""

    latest_may_lose: float = Field(default=0.05, ge=0)
    """Most PSNR in dB that a new version may lose on any evaluation set, to become `latest` by being published."""
    trusted: list[str] = Field(default=[])
    """Public keys (Ed25519, Base64) of those whose versions are loaded and whose moves of names count; empty: all."""
    keep: int = Field(default=5, ge=1)
    """Newest versions of an experiment that `scn models gc` keeps, besides those that are in use."""

    @field_validator("trusted")
    @classmethod
    def _are_keys(cls, keys: list[str]) -> list[str]:
        for key in keys:
            if not re.fullmatch(r"[A-Za-z0-9+/]{43}=", key):
                raise ValueError(f"'{key}' is no public key: take what `scn models key FILE` prints")
        return keys


class CollectConfig(Section):
    """Section `collect` of params.yaml: what is deleted that nobody needs; decides no result."""

    after_days: int = Field(default=14, ge=0)
    """Days for which something must have been found unneeded, before `scn gc` or `scn models gc` may delete it: a
    checkpoint, a shard, a version that was never published whole. Whole versions don't wait. The flow `collect` deletes
    workspaces of runs that are over when nothing has happened in them for so long."""


class CorporaConfig(Section):
    """Section `corpora` of params.yaml: where images come from (docs/corpora.md)."""

    root: str = "corpora"
    """The folder of corpora (NAME or NAME/SPLIT in it); downloads go there. $SCN_CORPORA, if set, is searched first."""
    download: dict[str, str] = Field(default={})
    """Corpora to download: name -> `catalogue`, or the URL of an archive of images, which may end in `#sha256=...`."""
    local: dict[str, str] = Field(default={})
    """Corpora of your own: name -> a folder of images, or an archive of them."""

    @model_validator(mode="after")
    def _names(self) -> "CorporaConfig":
        for name in self.names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise ValueError(f"'{name}' is no name of a corpus: use letters, digits, '_' and '-'")
        for name, place in self.local.items():
            if place.startswith("~"):  # DVC, which watches it, would look for a folder of this name
                raise ValueError(f"local.{name}: '{place}' is no path for DVC: write it without '~'")
        if twice := sorted(self.download.keys() & self.local.keys()):
            raise ValueError(f"'{twice[0]}' is named under download and under local: rename one")
        return self

    @property
    def names(self) -> list[str]:
        """Names of all corpora of the section."""
        return [*self.download, *self.local]


class DataConfig(Section):
    """Section `data` of params.yaml: the images of an experiment, and how they are cut and stored."""

    train: list[str] = Field(min_length=1)
    """Corpora to train on: `NAME`, or `NAME/SPLIT` for one split (of a folder of your own: a sub-folder)."""
    evaluation: list[str] = Field(min_length=1)
    """Corpora to measure on, named as in `train`; no picture may be in both."""
    sub_image: int = Field(default=480, ge=0)
    """Side in pixels of the sub-images that training images are cut into; 0: whole images."""
    stride: int = Field(default=240, ge=1)
    """Pixels from the start of one sub-image to the start of the next."""
    levels: list[int] = Field(default=[])
    """Further levels of the task whose degraded images lie in the same training shards, so that experiments share the
    originals; empty: the experiment's own level only."""
    edges: Literal["mirror", "replicate"] = "mirror"
    """How bicubic resizing goes on beyond the edges of an image: `mirror` as MATLAB's imresize does now, `replicate` as
    the older one that made the published files of Urban100, Set14 and BSD100 (docs/shards.md)."""
    encoding: Literal["npy", "png"] = "npy"
    """Encoding of the images in the shards (docs/decisions/0005)."""
    png_level: int = Field(default=1, ge=0, le=9)
    """Effort of zlib for png, from 0 (no compression) to 9 (slowest)."""
    shard_mib: int = Field(default=128, ge=1)
    """Approximate size of a shard in MiB of uncompressed pixels, where there are enough images."""
    min_shards: int = Field(default=1, ge=1)
    """Smallest number of training shards, for training loops that need one for each reader."""
    unusable: Literal["stop", "skip"] = "stop"
    """Treatment of a training image that can't be used: `stop` with an error, or `skip` and name it in the manifest."""
    overlap: Literal["stop", "leave_out"] = "stop"
    """Treatment of a training image that shows what is measured on, whole or in part: `stop` with an error, or
    `leave_out` and name it in the manifest."""

    @field_validator("evaluation")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError("names an evaluation set twice: leave one out")
        files: dict[str, str] = {}
        for name in names:  # as scn.monitoring.curves names the files
            if (other := files.setdefault(name.replace("/", "-"), name)) != name:
                raise ValueError(f"{other} and {name} would share one curve, psnr_{name.replace('/', '-')}: rename one")
        return names

    @model_validator(mode="after")
    def _covers(self) -> "DataConfig":
        if 0 < self.sub_image < self.stride:
            raise ValueError(
                f"stride: {self.stride} leaves gaps between sub-images of {self.sub_image} pixels: lower it"
            )
        return self


class EvaluateConfig(Section):
    """Section `evaluate` of params.yaml: how a model is measured."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision in which a network computes while it is measured."""
