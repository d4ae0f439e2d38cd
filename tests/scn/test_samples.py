"""Samples of shards: what is written is read, whole images come of their parts, and damage is named."""

import hashlib
import io
import tarfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from scn.errors import UserError
from scn.manifest import Shard
from scn.samples import About, Encoding, Sample, codec, decode, encode, read_samples, read_shard, whole_images
from scn.storage import Store, open_store


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


def test_the_encoder_is_named_where_bytes_depend_on_it() -> None:
    assert codec("npy") == "npy 1.0"
    assert codec("png").startswith("png, zlib ")


def cut(index: int, hr: np.ndarray, lr: np.ndarray | None) -> list[Sample]:
    """Four overlapping sub-images."""
    places = list(product((0, 12), (0, 6)))
    return [
        Sample(
            about=About(
                name=f"{index}", index=index, part=part, parts=4, top=y, left=x, height=hr.shape[0], width=hr.shape[1]
            ),
            hr=hr[y : y + 24, x : x + 30],
            lr=None if lr is None else lr[y // 2 : y // 2 + 12, x // 2 : x // 2 + 15],
        )
        for part, (y, x) in enumerate(places)
    ]


def test_whole_images_come_of_their_parts_in_the_order_of_their_set() -> None:
    first, first_lr = random(36, 36, 3), random(18, 18, 3)
    second = random(36, 36)
    third = Sample(about=About(name="2", index=2, height=9, width=8), hr=random(9, 8))
    parts = [third, *reversed(cut(1, second, None)), *cut(0, first, first_lr)]
    images = whole_images(parts)
    assert [image.name for image in images] == ["0", "1", "2"]
    np.testing.assert_array_equal(images[0].hr, first)
    np.testing.assert_array_equal(images[0].lr, first_lr)
    np.testing.assert_array_equal(images[1].hr, second)
    assert images[1].lr is None
    assert images[0].about == About(name="0", index=0, height=36, width=36)
    assert images[2] is third


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
    return Shard(key="shards/car/x/000000.tar", bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), samples=2)


def test_a_shard_is_read_in_the_order_of_its_keys(store: Store) -> None:
    samples = list(read_samples(store, [stored(store)], "car-q10", 10))
    assert [sample.name for sample in samples] == ["0.png", "1.png"]
    np.testing.assert_array_equal(samples[1].lr, random(20, 20))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda data: data[:-1000], r"it has 9240 bytes, the manifest says 10240"),
        (lambda data: data[:700] + bytes([data[700] ^ 1]) + data[701:], r"its SHA-256 is not the manifest's"),
    ],
)
def test_a_damaged_shard_is_named_and_no_sample_of_it_is_used(store: Store, spoil: object, found: str) -> None:
    shard = stored(store)
    path = Path(store.url.removeprefix("file://"), shard.key)
    data = spoil(path.read_bytes())
    path.write_bytes(data)
    expected = (
        rf"The shard shards/car/x/000000.tar in file://.* is damaged \({found}\): make it again with "
        r"`dvc repro --force --single-item shard@car-q10`\."
    )
    with pytest.raises(UserError, match=expected):
        next(read_samples(store, [shard], "car-q10", 10))


def test_a_shard_that_is_gone_is_named(store: Store) -> None:
    shard = stored(store)
    store.delete(shard.key)
    with pytest.raises(UserError, match=r"shards/car/x/000000.tar is not in file://.*: make it again with .*@car-q10"):
        read_shard(store, shard, "car-q10")
