"""The cache of shards on this machine's disk: each fetched once, never damaged, never too many."""

import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from far_store import FarStore
from named_pictures import experiment

from scn.core.errors import UserError
from scn.data.cache import Cache, cache_folder, shard_reader
from scn.shards.manifest import Manifests, Shard
from scn.shards.samples import About, Sample
from scn.storage.base import StoreError
from scn.storage.local import FileStore
from scn.storage.patience import Patience, PatientStore


@pytest.fixture
def store(tmp_path: Path) -> FarStore:
    return FarStore(tmp_path / "store")


@pytest.fixture
def shards(store: FarStore, put: Callable[..., Manifests]) -> list[Shard]:
    """Four shards, of which three fit into a cache of 1 MiB."""
    rng = np.random.default_rng(0)
    hr = [rng.integers(0, 256, (300, 350, 3), dtype=np.uint8) for _ in range(4)]
    samples = [Sample(about=About(name=f"{i}", index=i, height=300, width=350), hr=hr[i]) for i in range(4)]
    shards = put(store, experiment("dn", 25), *([sample] for sample in samples)).train.shards
    assert max(shard.bytes for shard in shards) <= 330_000
    return shards


def kept(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix != ".lock"}


def content(store: FarStore, shard: Shard) -> bytes:
    return FileStore.get(store, shard.key)


def test_a_shard_is_fetched_once(tmp_path: Path, store: FarStore, shards: list[Shard]) -> None:
    for _ in range(3):  # of other runs too
        cache = Cache(tmp_path / "cache", 1, store, "dn-s25")
        assert [cache.read(shard) for shard in shards[:2]] == [content(store, shard) for shard in shards[:2]]
    assert store.asked == [shard.key for shard in shards[:2]]
    assert kept(tmp_path / "cache") == {shard.sha256 for shard in shards[:2]}


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:600] + b"?" + data[601:], lambda data: b""]
)
def test_what_is_damaged_in_the_cache_is_fetched_again(
    tmp_path: Path, store: FarStore, shards: list[Shard], damage: Callable[[bytes], bytes]
) -> None:
    cache = Cache(tmp_path / "cache", 1, store, "dn-s25")
    whole, *_ = [cache.read(shard) for shard in shards[:3]]
    path = tmp_path / "cache" / f"{shards[0].sha256}.tar"
    path.write_bytes(damage(whole))
    assert cache.read(shards[0]) == whole
    assert path.read_bytes() == whole
    assert len(store.asked) == 4
    assert kept(tmp_path / "cache") == {shard.sha256 for shard in shards[:3]}  # it took its own place


def test_what_is_damaged_in_the_store_is_named_and_not_kept(
    tmp_path: Path, store: FarStore, shards: list[Shard]
) -> None:
    (tmp_path / "store" / shards[0].key).write_bytes(b"x" * shards[0].bytes)
    cache = Cache(tmp_path / "cache", 1, store, "dn-s25")
    with pytest.raises(UserError, match=rf"The shard {shards[0].key} in .* is damaged .*SHA-256 .*shard@dn-s25"):
        cache.read(shards[0])
    assert kept(tmp_path / "cache") == set()


def test_the_shards_that_were_not_used_for_longest_make_room(
    tmp_path: Path, store: FarStore, shards: list[Shard]
) -> None:
    folder = tmp_path / "cache"
    cache = Cache(folder, 1, store, "dn-s25")
    for age, shard in enumerate(shards[:3]):
        cache.read(shard)
        os.utime(folder / f"{shard.sha256}.tar", (age + 1, age + 1))
    cache.read(shards[0])  # used again
    cache.read(shards[3])
    assert kept(folder) == {shards[i].sha256 for i in (0, 2, 3)}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2**20
    before = len(store.asked)
    cache.read(shards[0])
    assert len(store.asked) == before


def test_a_cache_without_room_keeps_nothing(tmp_path: Path, store: FarStore, shards: list[Shard]) -> None:
    cache = Cache(tmp_path / "cache", 0, store, "dn-s25")
    assert cache.read(shards[0]) == cache.read(shards[0]) == content(store, shards[0])
    assert kept(tmp_path / "cache") == set()


def test_many_at_once_fetch_each_shard_once(tmp_path: Path, store: FarStore, shards: list[Shard]) -> None:
    """Threads with a cache of their own stand for processes: the lock is one of open files."""

    def read(number: int) -> bool:
        shard = shards[number % 3]
        return Cache(tmp_path / "cache", 1, store, "dn-s25").read(shard) == content(store, shard)

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(read, range(24)))
    assert sorted(store.asked) == sorted(shard.key for shard in shards[:3])
    assert kept(tmp_path / "cache") == {shard.sha256 for shard in shards[:3]}


@pytest.mark.parametrize("place", ["store", "other"])
def test_a_store_that_fails_keeps_nobody_from_reading(
    tmp_path: Path, store: FarStore, shards: list[Shard], place: str
) -> None:
    """The same store for whom it answers again, and another one, while the first is asked in vain."""
    asked, served = Event(), Event()

    class Away(FarStore):
        def get(self, key: str) -> bytes:
            asked.set()
            if place == "other":
                assert served.wait(300)
            raise StoreError("No answer.")

    shutil.copytree(tmp_path / "store", tmp_path / "other")
    waiting, away = Patience(store.url, 600), Away(tmp_path / "store")
    waiting.stopping = served.is_set
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(Cache(tmp_path / "cache", 1, PatientStore(away, waiting), "dn-s25").read, shards[0])
        assert asked.wait(120)
        try:
            cache = Cache(tmp_path / "cache", 1, FarStore(tmp_path / place), "dn-s25")
            assert pool.submit(cache.read, shards[0]).result(120) == content(store, shards[0])
            assert not one.done()
        finally:
            served.set()
        with pytest.raises(StoreError, match="No answer"):
            one.result()


def test_a_full_disk_makes_the_run_slower(
    tmp_path: Path, store: FarStore, shards: list[Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache", 1, store, "dn-s25")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("scn.core.files.os.fsync", full)
        with pytest.warns(UserWarning, match=r"Shards are not kept in .*/cache \(No space left on device\)"):
            assert cache.read(shards[0]) == content(store, shards[0])
    assert kept(tmp_path / "cache") == set()
    (tmp_path / "cache" / "space.lock").unlink()  # and who cleans up does no harm
    assert cache.read(shards[0]) == content(store, shards[0])
    assert kept(tmp_path / "cache") == {shards[0].sha256}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, store: FarStore) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"The cache of shards, .*/file/cache, can't be made \(Not a directory\)"):
        Cache(tmp_path / "file" / "cache", 1, store, "dn-s25")


def test_shards_go_through_the_cache_where_that_saves_work(
    tmp_path: Path, store: FarStore, shards: list[Shard]
) -> None:
    near = FileStore(tmp_path / "store")
    for source, cache, mib in ((near, tmp_path / "cache", 1), (store, None, 1), (store, tmp_path / "cache", 0)):
        assert shard_reader(source, "dn-s25", cache, mib)(shards[0]) == content(store, shards[0])
        assert not (tmp_path / "cache").exists()
    for _ in range(2):
        assert shard_reader(store, "dn-s25", tmp_path / "cache", 1)(shards[0]) == content(store, shards[0])
    assert store.asked == [shards[0].key] * 3
    assert kept(tmp_path / "cache") == {shards[0].sha256}


def test_a_machine_may_have_one_for_all_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCN_SHARD_CACHE", raising=False)
    assert cache_folder(tmp_path) == tmp_path / ".scn/shards"
    monkeypatch.setenv("SCN_SHARD_CACHE", str(tmp_path / "all"))
    assert cache_folder(tmp_path / "project") == tmp_path / "all"
