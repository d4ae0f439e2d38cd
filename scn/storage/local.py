"""A store in a folder; a new file is read back before it gets its name."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from scn.core.files import HIDDEN, locked, written_beside
from scn.storage.base import (
    Content,
    ObjectNotFound,
    Store,
    StoreError,
    Token,
    check_key,
    check_prefix,
    file_errors,
    kind_of,
)

_OF_THE_DISK = "lost+found"
"""What some file systems have in their root, and only root may read; nothing there is a store's."""


class FileStore(Store):
    """A store in a folder: keys are paths below it. A new file is read back before it gets its name."""

    def __init__(self, folder: Path) -> None:
        self.url = f"file://{folder}"
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        return FileStore, (self._folder,)

    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        with file_errors(f"{self.url}/{key}"), suppress(ObjectNotFound), self._open(key) as file:
            found = Content(file)
            return found.size == size and found.sha256 == sha256
        return False

    def exists(self, key: str) -> bool:
        with file_errors(f"{self.url}/{key}"):
            return self._path(key).is_file()

    def list(self, prefix: str = "") -> list[str]:
        check_prefix(prefix)
        below = prefix.rpartition("/")[0]
        keys = _files(self._folder / below, f"{below}/" if below else "")
        return sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        with file_errors(f"{self.url}/{key}"), suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def remove_folder(self, prefix: str) -> None:
        with suppress(OSError):  # not empty, or gone: then there is nothing to remove
            self._path(prefix).rmdir()

    def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
        try:
            data = self.get(key)
        except ObjectNotFound:
            return None, None
        return data, hashlib.sha256(data).hexdigest()

    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        path = self._path(key)
        with file_errors(f"{self.url}/{key}"), locked(self._folder / f"{HIDDEN}lock"):
            if self.read_pointer(key)[1] != token:
                return False
            with written_beside(path, lambda file: file.write(data)) as temporary:
                temporary.replace(path)
        return True

    def check(self, write: bool = True) -> None:
        try:
            if write:
                with written_beside(self._folder / "check", lambda file: file.write(b"check")):
                    pass
            next(self._folder.iterdir(), None)
        except OSError as error:
            remedy = "make it writable" if write else "make it readable"
            raise kind_of(error)(
                f"The folder of {self.url} can't be used ({error.strerror}): {remedy} or correct storage.url."
            ) from error

    def shares_disk_with(self, folder: Path) -> bool:
        made = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with suppress(OSError):
            return self._folder.stat().st_dev == made.stat().st_dev
        return False

    def _create(self, key: str, content: "Content") -> bool:
        path = self._path(key)
        with (
            file_errors(f"{self.url}/{key}"),
            written_beside(path, lambda file: file.writelines(content.blocks())) as temporary,
        ):
            if not content.equals(temporary):
                raise StoreError(f"{self.url}/{key} was not written as it was given: check the disk and try again.")
            return _publish(temporary, path)

    def _read(self, key: str, file: IO[bytes]) -> None:
        with file_errors(f"{self.url}/{key}"), self._open(key) as stored:
            file.writelines(Content(stored).blocks())

    def _open(self, key: str) -> IO[bytes]:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise self._missing(key) from None

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)


def _files(folder: Path, above: str) -> Iterator[str]:
    """The visible files below `folder`, named from `above` on; what is removed meanwhile is left out.

    A folder that may not be read is an error, which names it, where pathlib's rglob would give a list that lacks it.
    """
    with (
        file_errors(f"file://{folder}"),
        suppress(FileNotFoundError, NotADirectoryError),
        os.scandir(folder) as entries,
    ):
        for entry in entries:
            if entry.name.startswith(HIDDEN) or above + entry.name == _OF_THE_DISK:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder / entry.name, f"{above}{entry.name}/")
            elif entry.is_file():
                yield above + entry.name


def _publish(temporary: Path, path: Path) -> bool:
    """Gives the file its name, unless the name is taken: then False."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if path.exists():  # a file system without hard links: another process may still be faster
            return False
        temporary.replace(path)
    return True
