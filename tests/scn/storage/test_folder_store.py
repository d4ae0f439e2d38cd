"""What only a store in a folder meets: names that come and go, and folders that may not be read."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from scn.storage.base import StoreError
from scn.storage.local import FileStore


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
    def refuses(folder: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    FileStore(tmp_path).put("a/1", b"1")
    monkeypatch.setattr("scn.storage.local.os.scandir", refuses)
    with pytest.raises(StoreError, match=r"can't be used \(Permission denied\): check the path"):
        FileStore(tmp_path).list("a/")
