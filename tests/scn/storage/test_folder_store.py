"""What only a store in a folder meets: names that come and go, and folders that may not be read."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from scn.storage.base import Store, StoreError, StoreLacks
from scn.storage.examine import examine
from scn.storage.local import FileStore
from scn.storage.patience import Patience, PatientStore


def test_what_vanishes_while_the_store_is_listed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path)
    for key in ("a/1", "b/1"):
        store.put(key, b"1")
    scandir = os.scandir

    def removes_b(folder: Path) -> Any:
        if folder == tmp_path / "b":
            shutil.rmtree(folder)
        return scandir(folder)

    monkeypatch.setattr("scn.storage.local.os.scandir", removes_b)
    assert store.list() == ["a/1"]


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FileStore(tmp_path).put("a/b/1", b"1")
    refuse(monkeypatch, tmp_path / "a/b")
    for prefix in ("", "a/"):
        with pytest.raises(StoreLacks, match=rf"^file://{tmp_path}/a/b can't be used \(Permission denied\): check the"):
            FileStore(tmp_path).list(prefix)


def test_what_the_root_of_a_disk_has_is_none_of_its_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path)
    (tmp_path / "lost+found").mkdir()
    store.put("a/lost+found/1", b"1")
    refuse(monkeypatch, tmp_path / "lost+found")
    assert store.list() == ["a/lost+found/1"]


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Lets nobody read a folder: chmod does not keep root from it."""
    scandir = os.scandir

    def scan(folder: Path) -> Any:
        if folder == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr("scn.storage.local.os.scandir", scan)


@pytest.mark.parametrize("patient", [True, False])
def test_trying_a_store_leaves_nothing_in_its_folder(tmp_path: Path, patient: bool) -> None:
    store: Store = FileStore(tmp_path)
    store.put("a", b"1")
    rows = list(examine(PatientStore(store, Patience(store.url, 600)) if patient else store))
    assert {row.found for row in rows} == {"kept"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".scn-lock") == ["a"]
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("write", [True, False])
def test_a_folder_that_can_never_be_used_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: bool
) -> None:
    monkeypatch.setattr("scn.storage.patience.rest", lambda *_: pytest.fail("it waits"))
    (tmp_path / "a.png").write_bytes(b"")
    store = FileStore(tmp_path / "a.png")
    with pytest.raises(StoreLacks, match=rf"^The folder of {store.url} can't be used \(Not a directory\): make it"):
        PatientStore(store, Patience(store.url, 600)).check(write)


@pytest.mark.parametrize("lasting", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_not_waited_for_and_a_full_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: int
) -> None:
    waits, code = [], lasting
    monkeypatch.setattr("scn.storage.patience.rest", lambda *_: waits.append(1))

    def refuses(*_: object) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("scn.storage.local.written_beside", refuses)
    store = PatientStore(FileStore(tmp_path), Patience("file://store", 600))
    with pytest.raises(StoreLacks, match=r"can't be used .*: make it writable or correct storage.url\.$"):
        store.check()
    assert waits == []
    code = errno.ENOSPC
    with pytest.raises(StoreError, match="No space left on device"):
        store.check()
    assert waits == [1]
