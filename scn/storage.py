"""One small interface over a folder (file://) and a bucket (s3://, storage_s3.py); knows nothing of shards or models.

Objects are immutable: written once, whole or not at all, and checked before they count as written. What moves is a
small pointer, written with a compare-and-swap. A store pickles as its URL. Open one per process: a boto3 client does
not survive a fork.
"""

import errno
import fcntl
import hashlib
import io
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO

from scn.errors import UserError

Token = str | None
"""What `read_pointer` saw: equal tokens mean an unmoved pointer; None: there was no pointer."""

# Names that begin so are the store's own (temporary files, lock, probes): refused as keys, never listed.
HIDDEN = ".scn-"
_STALE_SECONDS = 24 * 3600
PART_BYTES = 8 * 1024**2  # of an upload to S3
BLOCK_BYTES = 1024**2  # at once from a disk; more would not stay in the CPU's cache


class StoreError(UserError):
    """The store can't do what was asked; the message names the place and the remedy."""


class ObjectNotFound(StoreError):  # noqa: N818 - a finding, not always an error
    """No object has this key."""


class ObjectExists(StoreError):  # noqa: N818
    """The key holds other content, and objects never change."""


def open_store(url: str, root: Path | None = None) -> "Store":
    """The store at `file://folder` (relative to `root`, by default the current folder) or `s3://bucket/prefix`.

    Endpoint, region and keys of S3 come from the standard AWS_* variables. Nothing is contacted or made yet:
    `Store.check` does that. UserError if the URL has neither form.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file" and rest:
        return FileStore(((root or Path.cwd()) / Path(rest).expanduser()).resolve())
    bucket, _, prefix = rest.partition("/")
    if separator and scheme == "s3" and bucket:
        from scn.storage_s3 import S3Store  # it builds on this file

        return S3Store(bucket, prefix.strip("/"))
    raise UserError(f"'{url}' is no storage URL: write file://folder or s3://bucket/prefix.")


class Store(ABC):
    """Immutable objects and movable pointers, by key: parts separated by '/', none empty, '.' or '..'.

    Every method raises StoreError for an ill-formed key and when the service or the disk fails.
    """

    url: str
    """Absolute: opens the same store from any folder and process."""

    def __reduce__(self) -> tuple[Callable[[str], "Store"], tuple[str]]:
        return open_store, (self.url,)

    def put(self, key: str, data: bytes | memoryview, *, sha256: str | None = None) -> bool:
        """Stores `data`; False if it was there already, ObjectExists if something else was.

        What was written is compared with `data` (see the stores) before it counts as an object: if it differs,
        StoreError, and there is no object.

        Args:
            sha256: of `data`, in hexadecimal, if it is known already: spares computing it.
        """
        return self._put(key, Source(data, sha256))

    def put_file(self, key: str, path: Path, *, sha256: str | None = None) -> bool:
        """Like `put`, for a file of any size."""
        with _file_errors(str(path)), path.open("rb") as file:
            return self._put(key, Source(file, sha256))

    def get(self, key: str) -> bytes:
        """The object's content; ObjectNotFound if there is none."""
        check_key(key)
        buffer = io.BytesIO()
        self._read(key, buffer)
        return buffer.getvalue()

    def get_file(self, key: str, path: Path) -> None:
        """Copies the object to `path`, which is replaced whole or left alone; ObjectNotFound if there is none."""
        check_key(key)
        with _file_errors(str(path)), _written_beside(path, lambda file: self._read(key, file)) as temporary:
            temporary.replace(path)

    @abstractmethod
    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        """Whether there is an object at `key` and it has this content (SHA-256 in hexadecimal, size in bytes)."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object (or pointer) at `key`."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[str]:
        """Sorted keys that begin with `prefix`, at any depth ("runs/a" also finds "runs/ab/1")."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if there is none."""

    @abstractmethod
    def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
        """The pointer's content (None if there is none) and the token that `swap_pointer` asks for."""

    @abstractmethod
    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        """Moves the pointer to `data`; False if someone else moved it since `token` was read.

        Of several swaps with one token exactly one succeeds: in a folder thanks to a lock, in a bucket where the
        service honours conditional writes (found by a probe). Where it does not, the pointer is compared before
        and after the write: of two swaps at the same instant the last one stays, and the other may not learn it.
        """

    @abstractmethod
    def check(self, write: bool = True) -> None:
        """StoreError if the store can't be reached, read or (with `write`) written: call it before long work."""

    @abstractmethod
    def _create(self, key: str, source: "Source") -> bool:
        """Writes `source` to a key without an object; False if one has appeared meanwhile."""

    @abstractmethod
    def _read(self, key: str, file: IO[bytes]) -> None:
        """Writes the object's content to an empty seekable `file`."""

    def _put(self, key: str, source: "Source") -> bool:
        if not self.exists(key) and self._create(key, source):
            return True
        if self.holds(key, sha256=source.sha256, size=source.size):
            return False
        if not self.exists(key):
            raise StoreError(f"{self.url}/{key} is being written by another process: try again.")
        raise ObjectExists(
            f"{self.url}/{key} is there already with other content: choose another name, or delete it first."
        )

    def _missing(self, key: str) -> ObjectNotFound:
        return ObjectNotFound(f"{self.url}/{key} does not exist: check the name and that what makes it has run.")


class FileStore(Store):
    """A folder; keys are paths below it. A new file is read back before it gets its name."""

    def __init__(self, folder: Path) -> None:
        self.url = f"file://{folder}"
        self._folder = folder

    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        with _file_errors(f"{self.url}/{key}"), suppress(ObjectNotFound), self._open(key) as file:
            found = Source(file)
            return found.size == size and found.sha256 == sha256
        return False

    def exists(self, key: str) -> bool:
        with _file_errors(f"{self.url}/{key}"):
            return self._path(key).is_file()

    def list(self, prefix: str = "") -> list[str]:
        check_prefix(prefix)
        with _file_errors(f"{self.url}/{prefix}"):
            paths = (self._folder / prefix.rpartition("/")[0]).rglob("*")
            keys = [path.relative_to(self._folder).as_posix() for path in paths if path.is_file()]
        return sorted(key for key in keys if key.startswith(prefix) and not is_hidden(key))

    def delete(self, key: str) -> None:
        with _file_errors(f"{self.url}/{key}"), suppress(FileNotFoundError, NotADirectoryError):
            self._path(key).unlink()

    def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
        try:
            data = self.get(key)
        except ObjectNotFound:
            return None, None
        return data, hashlib.sha256(data).hexdigest()

    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        path = self._path(key)
        with _file_errors(f"{self.url}/{key}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{HIDDEN}lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # ends when the file is closed, also by the death of the process
                if self.read_pointer(key)[1] != token:
                    return False
                with _written_beside(path, lambda file: file.write(data)) as temporary:
                    temporary.replace(path)
        return True

    def check(self, write: bool = True) -> None:
        try:
            if write:
                with _written_beside(self._folder / "check", lambda file: file.write(b"check")):
                    pass
            next(self._folder.iterdir(), None)
        except OSError as error:
            remedy = "make it writable" if write else "make it readable"
            raise StoreError(
                f"The folder of {self.url} can't be used ({error.strerror}): {remedy} or correct storage.url."
            ) from error

    def _create(self, key: str, source: "Source") -> bool:
        path = self._path(key)
        with (
            _file_errors(f"{self.url}/{key}"),
            _written_beside(path, lambda file: file.writelines(source.blocks())) as temporary,
        ):
            if not source.equals(temporary):
                raise StoreError(f"{self.url}/{key} was not written as it was given: check the disk and try again.")
            return _publish(temporary, path)

    def _read(self, key: str, file: IO[bytes]) -> None:
        with _file_errors(f"{self.url}/{key}"), self._open(key) as stored:
            file.writelines(Source(stored).blocks())

    def _open(self, key: str) -> IO[bytes]:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise self._missing(key) from None

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)


class Source:
    """What is to be stored, bytes or an open file; several threads may read it at once."""

    def __init__(self, content: bytes | memoryview | IO[bytes], sha256: str | None = None) -> None:
        self._content = content
        self._known = sha256
        self.size = len(content) if isinstance(content, bytes | memoryview) else os.fstat(content.fileno()).st_size

    @cached_property
    def sha256(self) -> str:
        """In hexadecimal."""
        return self._known or self._digest()

    def part(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, or those that there are."""
        if isinstance(self._content, bytes | memoryview):
            return bytes(self._content[start : start + length])
        return os.pread(self._content.fileno(), length, start)

    def blocks(self) -> Iterator[bytes]:
        return (self.part(start, BLOCK_BYTES) for start in range(0, self.size, BLOCK_BYTES))

    def equals(self, path: Path) -> bool:
        """Whether the file `path` has the same content; far cheaper than two digests."""
        with path.open("rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_size == self.size and all(
                file.read(len(block)) == block for block in self.blocks()
            )

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()


def check_key(key: str) -> str:
    parts = key.split("/")
    if {"", ".", ".."} & set(parts) or is_hidden(key) or "\\" in key or not key.isprintable():
        raise StoreError(
            f"'{key}' can't name an object: use parts separated by '/', none empty, '.', '..' or '{HIDDEN}...'."
        )
    return key


def check_prefix(prefix: str) -> None:
    if prefix:
        check_key(prefix.removesuffix("/"))


def is_hidden(key: str) -> bool:
    return any(part.startswith(HIDDEN) for part in key.split("/"))


@contextmanager
def _file_errors(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{place} can't be used ({error.strerror or error}): check the path, its permissions and the disk."
        ) from error


@contextmanager
def _written_beside(path: Path, write: Callable[[IO[bytes]], object]) -> Iterator[Path]:
    """A file in the folder of `path` that `write` has filled and the disk has; gone afterwards unless moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{HIDDEN}tmp-*"):  # by a process that was killed
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                left.unlink()
    temporary = path.parent / f"{HIDDEN}tmp-{uuid.uuid4().hex}"
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> bool:
    """Gives the file its name, unless the name is taken: then False."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        if path.exists():  # a file system without hard links: nearly as good
            return False
        temporary.replace(path)
    return True
