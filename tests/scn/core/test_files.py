"""Folders appear whole, and a lock is held by one at a time."""

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from scn.core.files import locked, replace_folder, write_atomically


def test_who_has_to_wait_for_a_lock_is_told_once(tmp_path: Path) -> None:
    path, waits, calls, done = tmp_path / "made" / "a.lock", threading.Event(), [], []

    def told() -> None:
        calls.append("waits")
        waits.set()

    def second() -> None:
        with locked(path, told):
            done.append("second")

    with locked(path, lambda: calls.append("never")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        done.append("first")
    thread.join(60)
    assert (calls, done) == (["waits"], ["first", "second"])


def test_a_lock_is_let_go_of_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locked(tmp_path / "lock"):
        raise ValueError("inside")
    said: list[str] = []
    with locked(tmp_path / "lock", lambda: said.append("waits")):
        assert said == []


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    target, new = tmp_path / "target", tmp_path / "new"
    for content in ("first", "second"):
        new.mkdir()
        (new / content).write_text(content)
        replace_folder(new, target)
        assert [path.name for path in target.iterdir()] == [content]
        assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_a_killed_process_left_of_the_old_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".target.replaced" / "older").mkdir(parents=True)
    (tmp_path / "target").mkdir()
    (tmp_path / "new").mkdir()
    replace_folder(tmp_path / "new", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_a_private_file_is_never_readable_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool, mode: int
) -> None:
    made, create = [], os.open

    def noted(name: str, flags: int, wanted: int = 0o777, **more: Any) -> int:
        opened = create(name, flags, wanted, **more)
        made.append(stat.S_IMODE(os.fstat(opened).st_mode))
        return opened

    (tmp_path / "keys").write_bytes(b"old, and readable")
    before = os.umask(0o022)
    monkeypatch.setattr("scn.core.files.os.open", noted)
    try:
        write_atomically(tmp_path / "keys", b"new", private=private)
    finally:
        os.umask(before)
    assert made == [mode]
    assert (tmp_path / "keys").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == mode
