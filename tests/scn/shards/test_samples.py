"""Samples of shards: what is written is read, and damage is named."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from scn.core.errors import UserError
from scn.shards.manifest import Shard
from scn.shards.samples import About, Encoding, codec, decode, encode, read_shard, unpack
from scn.storage import open_store
from scn.storage.base import Store


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("encoding", ["npy", "png"])
@pytest.mark.parametrize("shape", [(24, 36, 3), (24, 36)])
def test_what_is_encoded_is_decoded(encoding: Encoding, shape: tuple[int, ...]) -> None:
    hr, lr = random(*shape), random(12, 18, *shape[2:])
    about = About(name="a.png", sha256="ab", index=7, part=1, parts=2, top=4, left=2, height=40, width=50)
    members = encode({"hr": hr[:, ::-1], "lr2": lr, "lr3": lr[:8, :12]}, encoding, 1)
    assert sorted(members) == [f"{name}.{encoding}" for name in ("hr", "lr2", "lr3")]
    sample = decode(members | {"json": about.model_dump_json().encode()}, 2)
    assert sample.about == about
    np.testing.assert_array_equal(sample.hr, hr[:, ::-1])
    np.testing.assert_array_equal(sample.lr, lr)
    assert sample.up is None
    assert decode(members | {"json": about.model_dump_json().encode()}, 4).lr is None


def test_keys_sort_by_image_and_sub_image() -> None:
    abouts = [About(name="a", index=i, part=p, parts=20, height=1, width=1) for i, p in product((2, 10), (3, 12))]
    assert [about.key for about in abouts] == sorted(about.key for about in abouts)
    assert abouts[0].key == "00000002-0003"
    assert [About.image(about.key) for about in abouts] == [2, 2, 10, 10]


def test_the_encoder_is_named_where_bytes_depend_on_it() -> None:
    assert codec("npy") == "npy 1.0"
    assert codec("png").startswith("png, zlib ")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}")


def stored(store: Store) -> Shard:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for index in (1, 0):
            about = About(name=f"{index}.png", index=index, height=20, width=20)
            members = encode({"hr": random(20, 20), "lr10": random(20, 20)}, "npy", 0)
            for suffix, content in (members | {"json": about.model_dump_json().encode()}).items():
                member = tarfile.TarInfo(f"{about.key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    data = file.getvalue()
    store.put("shards/car/x/000000.tar", data)
    sha256 = hashlib.sha256(data).hexdigest()
    images = {0: (20, 20), 1: (20, 20)}
    return Shard(key="shards/car/x/000000.tar", bytes=len(data), sha256=sha256, samples=2, images=images)


def test_a_shard_is_read_in_the_order_of_its_keys(store: Store) -> None:
    samples = list(unpack(read_shard(store, stored(store), "car-q10"), 10))
    assert [sample.name for sample in samples] == ["0.png", "1.png"]
    np.testing.assert_array_equal(samples[1].lr, random(20, 20))


def test_the_images_that_are_asked_for_are_taken_from_a_shard(store: Store) -> None:
    content = read_shard(store, stored(store), "car-q10")
    assert [sample.about.index for sample in unpack(content, 10)] == [0, 1]
    assert [sample.about.index for sample in unpack(content, 10, {1, 2})] == [1]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda data: data[:-1000], r"it has 9240 bytes, the manifest says 10240"),
        (lambda data: data[:700] + bytes([data[700] ^ 1]) + data[701:], r"its SHA-256 is not the manifest's"),
    ],
)
def test_a_damaged_shard_is_named(store: Store, spoil: Callable[[bytes], bytes], found: str) -> None:
    shard = stored(store)
    path = Path(store.url.removeprefix("file://"), shard.key)
    data = spoil(path.read_bytes())
    path.write_bytes(data)
    expected = (
        rf"The shard shards/car/x/000000.tar in file://.* is damaged \({found}\): make it again with "
        r"`dvc repro --force --single-item shard@car-q10`\."
    )
    with pytest.raises(UserError, match=expected):
        read_shard(store, shard, "car-q10")
    with pytest.raises(UserError, match=r"make it again with the `data-prep shard` command that made its manifest\.$"):
        read_shard(store, shard, None)


def test_a_shard_that_is_gone_is_named(store: Store) -> None:
    shard = stored(store)
    store.delete(shard.key)
    with pytest.raises(UserError, match=r"shards/car/x/000000.tar is not in file://.*: make it again with .*@car-q10"):
        read_shard(store, shard, "car-q10")
