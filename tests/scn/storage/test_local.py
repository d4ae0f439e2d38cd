"""Both kinds of store keep the same promises."""

import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.storage import open_store
from scn.storage.base import Content, ObjectExists, ObjectNotFound, Store, StoreError
from scn.storage.local import FileStore


@pytest.fixture
def store(any_store_url: str) -> Store:
    return open_store(any_store_url)


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert ". " not in message
    return message


# Objects


def test_an_object_is_read_as_it_was_written(store: Store) -> None:
    assert store.put("a/b.bin", b"\x00content") is True
    assert store.get("a/b.bin") == b"\x00content"
    assert store.put("empty", b"") is True
    assert store.get("empty") == b""


def test_the_same_content_again_writes_nothing(store: Store) -> None:
    store.put("a", b"same")
    assert store.put("a", b"same") is False
    assert store.get("a") == b"same"


@pytest.mark.parametrize("other", [b"diff", b"longer than before", b""])
def test_other_content_is_refused(store: Store, other: bytes) -> None:
    store.put("a", b"same")
    with pytest.raises(ObjectExists) as error:
        store.put("a", other)
    assert one_sentence(error).startswith(f"{store.url}/a is there already with other content")
    assert store.get("a") == b"same"


def test_a_damaged_object_is_replaced_if_its_key_names_its_content(store: Store, tmp_path: Path) -> None:
    store.put("hash-of-whole", b"damaged")
    assert store.put("hash-of-whole", b"whole", names_content=True) is True
    assert store.get("hash-of-whole") == b"whole"
    assert store.put("hash-of-whole", b"whole", names_content=True) is False
    (tmp_path / "file").write_bytes(b"of a file")
    store.put("hash-of-file", b"damaged")
    assert store.put_file("hash-of-file", tmp_path / "file", names_content=True) is True
    assert store.get("hash-of-file") == b"of a file"


def test_of_writers_at_one_time_one_writes(store: Store) -> None:
    outcomes = run_together([lambda n=n: put_or_refused(store, f"content {n}".encode()) for n in range(6)])  # type: ignore[misc]
    assert sorted(outcomes) == ["refused"] * 5 + ["written"]
    assert store.get("a") == f"content {outcomes.index('written')}".encode()


def put_or_refused(store: Store, data: bytes) -> str:
    try:
        return "written" if store.put("a", data) else "same"
    except ObjectExists:
        return "refused"


def test_a_missing_object_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound) as error:
        store.get("a/b")
    assert one_sentence(error).startswith(f"{store.url}/a/b does not exist")
    with pytest.raises(ObjectNotFound):
        store.get_file("a/b", tmp_path / "copy")
    assert list(tmp_path.glob("*copy*")) == []


def test_listing_is_sorted_and_by_prefix(store: Store) -> None:
    assert store.list() == []
    for key in ("b", "a/2", "a/10", "a/1/x", "ab"):
        store.put(key, b"1")
    store.swap_pointer("p/latest", b"1", None)  # leaves no key of the store's own behind
    assert store.list() == ["a/1/x", "a/10", "a/2", "ab", "b", "p/latest"]
    assert store.list("a/") == ["a/1/x", "a/10", "a/2"]
    assert store.list("a") == ["a/1/x", "a/10", "a/2", "ab"]
    assert store.list("a/1") == ["a/1/x", "a/10"]
    assert store.list("nothing/here") == []


def test_deleting_is_idempotent(store: Store) -> None:
    store.put("a/b", b"1")
    assert store.exists("a/b") is True
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/there")
    assert store.exists("a/b") is False
    assert store.exists("a") is False
    assert store.put("a/b", b"another") is True


def test_a_large_file_goes_there_and_back(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(9 * 1024**2 + 7))
    assert store.put_file("big/file", source) is True
    assert store.put_file("big/file", source) is False
    assert store.put("big/file", source.read_bytes()) is False
    store.get_file("big/file", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]
    with source.open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(ObjectExists):
        store.put_file("big/file", source)


@pytest.mark.parametrize("size", [0, 5, 9 * 1024**2])
def test_what_an_object_holds_is_told_by_digest_and_size(store: Store, size: int) -> None:
    data = os.urandom(size)
    sha256 = hashlib.sha256(data).hexdigest()
    assert store.holds("a/b", sha256=sha256, size=size) is False
    store.put("a/b", data)
    assert store.holds("a/b", sha256=sha256, size=size) is True
    assert store.holds("a/b", sha256=sha256, size=size + 1) is False
    assert store.holds("a/b", sha256=hashlib.sha256(b"other").hexdigest(), size=size) is False
    assert store.holds("a", sha256=sha256, size=size) is False


def test_a_known_digest_is_not_computed_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(self: Content) -> str:
        raise AssertionError("computed")

    data = os.urandom(9 * 1024**2)
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "file").write_bytes(data)
    with monkeypatch.context() as patched:
        patched.setattr(Content, "_digest", compute)
        assert store.put("small", data[:9], sha256=hashlib.sha256(data[:9]).hexdigest()) is True
        assert store.put("bytes", data, sha256=sha256) is True
        assert store.put_file("file", tmp_path / "file", sha256=sha256) is True
    assert store.holds("small", sha256=hashlib.sha256(data[:9]).hexdigest(), size=9) is True
    assert store.put("bytes", data) is False
    assert store.put("file", data) is False


def test_a_missing_source_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        store.put_file("a", tmp_path / "absent")
    assert one_sentence(error).startswith(f"{tmp_path / 'absent'} can't be used (No such file or directory)")


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb", ".scn-lock", "a/.scn-tmp"]
)
def test_ill_formed_keys_are_refused(store: Store, key: str, tmp_path: Path) -> None:
    for use in (store.get, store.exists, store.delete, store.read_pointer):
        with pytest.raises(StoreError, match="can't name an object"):
            use(key)
    with pytest.raises(StoreError, match="can't name an object"):
        store.put(key, b"1")
    with pytest.raises(StoreError, match="can't name an object"):
        store.get_file(key, tmp_path / "copy")
    with pytest.raises(StoreError, match="can't name an object"):
        store.swap_pointer(key, b"1", None)
    assert store.list() == []


def test_a_store_pickles_as_its_url(store: Store) -> None:
    store.put("a", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.url == store.url
    assert copy.get("a") == b"1"


def test_a_usable_store_passes_the_check(store: Store) -> None:
    store.check()
    store.check(write=False)
    assert store.list() == []


# Pointers


def test_a_pointer_moves_only_from_what_was_read(store: Store) -> None:
    assert store.read_pointer("x/latest") == (None, None)
    assert store.swap_pointer("x/latest", b"v1", None) is True
    data, first = store.read_pointer("x/latest")
    assert data == b"v1"
    assert store.swap_pointer("x/latest", b"v1 again", None) is False
    assert store.swap_pointer("x/latest", b"v2", first) is True
    assert store.swap_pointer("x/latest", b"v3", first) is False
    data, second = store.read_pointer("x/latest")
    assert (data, second == first) == (b"v2", False)


def test_a_deleted_pointer_is_not_swapped(store: Store) -> None:
    store.swap_pointer("latest", b"v1", None)
    token = store.read_pointer("latest")[1]
    store.delete("latest")
    assert store.swap_pointer("latest", b"v2", token) is False
    assert store.read_pointer("latest") == (None, None)


@pytest.mark.parametrize("start", [None, b"v0"])
def test_of_swaps_at_one_time_one_wins(store: Store, start: bytes | None) -> None:
    if start is not None:
        store.swap_pointer("latest", start, None)
    token = store.read_pointer("latest")[1]
    outcomes = run_together([lambda n=n: store.swap_pointer("latest", f"v{n}".encode(), token) for n in range(1, 7)])  # type: ignore[misc]
    assert sorted(outcomes) == [False] * 5 + [True]
    assert store.read_pointer("latest")[0] == f"v{outcomes.index(True) + 1}".encode()


def run_together(calls: list[Callable[[], Any]]) -> list[Any]:
    """The results of the calls, each made in its own thread, all at once."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(n: int) -> None:
        barrier.wait(30)
        results[n] = calls[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# URLs


@pytest.mark.parametrize("url", ["http://host/x", "/folder", "store", "", "file://", "s3://", "s3:///prefix"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UserError) as error:
        open_store(url)
    assert one_sentence(error) == f"'{url}' is no storage URL: write file://folder or s3://bucket/prefix."


def test_folders_are_relative_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("file://a/b").url == f"file://{tmp_path}/a/b"
    assert open_store("file://a/b", tmp_path / "root").url == f"file://{tmp_path}/root/a/b"
    assert open_store("file://a/b", Path("root")).url == f"file://{tmp_path}/root/a/b"
    assert open_store("file:///abs/path", tmp_path).url == "file:///abs/path"


def test_boto3_and_torch_are_not_imported_for_folders() -> None:
    code = "import sys, scn.storage as s; s.open_store('file://x'); print({'boto3', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


# Folders


@pytest.mark.parametrize("damage", [b"\0", b""])
def test_what_the_disk_did_not_keep_is_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    """The last byte is lost, or another one, after all were written."""

    def spoil(descriptor: int) -> None:
        os.ftruncate(descriptor, 3 * 1024**2 - 1)
        os.pwrite(descriptor, damage, 3 * 1024**2 - 1)

    store = FileStore(tmp_path / "store")
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3 * 1024**2)
    with monkeypatch.context() as patched:
        patched.setattr("scn.storage.base.os.fsync", spoil)
        for put in (lambda: store.put("a/b", source.read_bytes()), lambda: store.put_file("a/b", source)):
            with pytest.raises(StoreError) as error:
                put()
            assert one_sentence(error).startswith(f"{store.url}/a/b was not written as it was given: check the disk")
            assert list((tmp_path / "store" / "a").iterdir()) == []
    assert store.put_file("a/b", source) is True


@pytest.mark.parametrize("call", ["put", "swap_pointer"])
def test_a_killed_writer_leaves_no_object(tmp_path: Path, call: str) -> None:
    """The process dies when all bytes are written and not yet named."""
    code = (
        "import os, sys, time, scn.storage as s\n"
        "os.fsync = lambda fd: (print('written', flush=True), time.sleep(600))\n"
        f"s.open_store(sys.argv[1]).{call}('a/b', b'x' * 1000000{', None' if call == 'swap_pointer' else ''})\n"
    )
    url = f"file://{tmp_path}"
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    left = list((tmp_path / "a" / ".scn-tmp").iterdir())
    assert [path.stat().st_size for path in left] == [1000000]
    store = open_store(url)
    assert store.list() == []
    assert store.exists("a/b") is False
    assert store.read_pointer("a/b") == (None, None)
    assert store.swap_pointer("a/b", b"new", None) is True  # the dead process holds no lock
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(left[0], (two_days_ago, two_days_ago))
    store.put("a/c", b"1")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b", "c"]


def test_what_a_put_costs_does_not_grow_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder that holds objects is read, and the calls to the system are the same."""
    calls: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        call = getattr(os, name)
        return lambda *args, **options: (calls.append(f"{name} {Path(args[0]).name}"), call(*args, **options))[1]

    store, costs = FileStore(tmp_path), []
    with monkeypatch.context() as patched:
        for name in ("scandir", "listdir", "stat"):
            patched.setattr(os, name, counted(name))
        for number in range(50):
            store.put(f"a/{number:02d}", b"1")
            store.swap_pointer("a/pointer", str(number).encode(), store.read_pointer("a/pointer")[1])
            costs.append(len(calls))
            assert not {"scandir a", "listdir a"} & set(calls)
            assert any(call.endswith(".scn-tmp") for call in calls)
            calls.clear()
    assert len(set(costs[1:])) == 1


def test_writers_of_one_folder_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    """Each removes the folder of temporary files when it finds it empty."""
    store = FileStore(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.put(f"a/{number:03d}", b"1"), range(200)))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f"{number:03d}" for number in range(200)]


def test_file_systems_without_hard_links_serve_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    store = FileStore(tmp_path)
    assert store.put("a", b"1") is True
    assert store.put("a", b"1") is False
    assert store.get("a") == b"1"


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = open_store(f"file://{tmp_path}/file/store")
    with pytest.raises(StoreError) as error:
        store.check()
    assert one_sentence(error).startswith(f"The folder of {store.url} can't be used (Not a directory)")
    with pytest.raises(StoreError) as error:
        store.put("a", b"1")
    assert one_sentence(error).startswith(f"{store.url}/a can't be used (Not a directory)")


def test_reading_from_an_absent_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        open_store(f"file://{tmp_path}/absent").check(write=False)
    assert not (tmp_path / "absent").exists()


def test_an_object_is_no_folder(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("a", b"1")
    with pytest.raises(StoreError) as error:
        store.put("a/b", b"1")
    assert one_sentence(error).startswith(f"{store.url}/a/b can't be used")
    with pytest.raises(ObjectNotFound):
        store.get("a/b")


def test_a_folder_on_the_same_file_system_is_told_from_another(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    assert not store.shares_disk_with(tmp_path / "yet" / "to be made")  # nor is there a store yet
    (tmp_path / "store").mkdir()
    assert store.shares_disk_with(tmp_path / "yet" / "to be made")
    assert not store.shares_disk_with(Path("/proc/nothing"))
