"""The interface of a store, which scn.storage.local and scn.storage.s3 implement; it knows nothing of shards or models.

An object is written once, whole or not at all, checked before it counts as written, and never changed. A pointer is a
small object that moves by compare-and-swap. A pickled store holds its address only. Open one per process: a boto3
client does not survive a fork.
"""

import copy
import errno
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from scn.core.errors import UserError
from scn.core.files import HIDDEN, written_beside

T = TypeVar("T")
Token = str | None
"""State of a pointer when it was read: equal tokens mean that it has not moved; None: there was no pointer."""

PART_BYTES = 8 * 1024**2
"""Size in bytes of the parts of an upload to S3."""
BLOCK_BYTES = 1024**2
"""Bytes that are read from a disk at once; more would not stay in the CPU's cache."""
_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
"""Errors of a disk that waiting does not change."""


class StoreError(UserError):
    """The store can't do what it was asked to do; the message names the place and the remedy."""


class ObjectNotFound(StoreError):  # noqa: N818 - a finding, not always an error
    """No object has this key."""


class ObjectExists(StoreError):  # noqa: N818
    """The key already holds other content, and objects never change."""


class StoreLacks(StoreError):  # noqa: N818
    """The store can't do what it was asked to do, now or later: waiting does not help."""


class StoreRefuses(StoreError):  # noqa: N818
    """The service refuses access, or knows no such bucket: waiting helps only if it is just starting."""


class StoreBusy(StoreError):  # noqa: N818
    """The service answers that it can't now: it is the right one, and waiting may help."""


class Row(NamedTuple):
    """One thing that a store was asked to keep."""

    what: str
    """What was tried."""
    found: str
    """What was seen, such as "kept"."""
    meaning: str
    """What that means for this project."""


class Store(ABC):
    """A store of immutable objects and movable pointers; a key is parts separated by '/', none empty, '.' or '..'.

    Every method raises StoreError for an ill-formed key and when the service or the disk fails.
    """

    url: str
    """Absolute URL of the store, which `open_store` takes in any folder and process."""

    def put(
        self, key: str, data: bytes | memoryview, *, sha256: str | None = None, names_content: bool = False
    ) -> bool:
        """Stores `data` as the object `key`, which is compared with `data` before it counts as stored.

        Args:
            sha256: SHA-256 of `data` in hexadecimal, if it is known already, which saves computing it.
            names_content: the key holds a hash of the content, or of all that decides it; other content under it is
                a damaged object, which `data` replaces.
        Returns:
            False if an object with this content was there already.
        Raises:
            ObjectExists: if the key holds other content.
            StoreError: if what was written differs from `data`; then there is no object.
        """
        return self._put(key, Content(data, sha256), names_content)

    def put_file(self, key: str, path: Path, *, sha256: str | None = None, names_content: bool = False) -> bool:
        """Stores a file of any size as the object `key`; arguments, result and errors are those of `put`."""
        with file_errors(str(path)), path.open("rb") as file:
            return self._put(key, Content(file, sha256), names_content)

    def get(self, key: str) -> bytes:
        """The content of the object `key`. Raises ObjectNotFound if there is none."""
        check_key(key)
        buffer = io.BytesIO()
        self._read(key, buffer)
        return buffer.getvalue()

    def get_file(self, key: str, path: Path) -> None:
        """Copies the object `key` to the file `path`, which is replaced whole or stays as it was.

        Raises:
            ObjectNotFound: if there is no such object.
        """
        check_key(key)
        with file_errors(str(path)), written_beside(path, lambda file: self._read(key, file)) as temporary:
            temporary.replace(path)

    def attempted(self, attempt: Callable[["Store"], T]) -> T:
        """Calls `attempt` with this store and returns its result; a patient store does so again while that fails.

        What `attempt` holds, such as a lock, it then holds for no longer than one attempt lasts.
        """
        return attempt(self)

    @abstractmethod
    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        """True if `key` holds an object with this content (SHA-256 in hexadecimal, size in bytes)."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """True if `key` holds an object or a pointer."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[str]:
        """Sorted keys that begin with `prefix`, at any depth ("runs/a" also finds "runs/ab/1")."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes the object `key`; nothing happens if there is none."""

    @abstractmethod
    def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
        """The pointer's content (None if there is none) and the token that `swap_pointer` asks for."""

    @abstractmethod
    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        """Moves the pointer to `data`, unless it has moved since `token` was read.

        If several swaps have the same token, exactly one succeeds: in a folder by a lock, in a bucket by conditional
        writes, if a probe finds that the service keeps them. If it does not (see `lacks`), the pointer is compared
        before and after the write: of two swaps at the same instant the later one stays, and the other may return True.

        Returns:
            False if someone else moved the pointer.
        """

    def reach(self) -> None:
        """Raises StoreError, within about ten seconds, if the service can't be reached or read; a folder always can."""
        return

    @abstractmethod
    def check(self, write: bool = True) -> None:
        """Raises StoreError if the store can't be reached, read or (with `write`) written: call it before long work."""

    def remove_folder(self, prefix: str) -> None:
        """Removes what is left where the keys that begin with `prefix` and '/' were: an empty folder, if anything."""
        return

    def lacks(self) -> str:
        """Why objects and pointers are not safe from several writers at once, as a clause; empty if they are."""
        return ""

    def describe_service(self) -> tuple[Row, ...]:
        """What the service below does, tried on it for `scn store check`; nothing for a folder."""
        return ()

    @abstractmethod
    def shares_disk_with(self, folder: Path) -> bool:
        """True if objects lie on the file system of `folder`, which need not exist yet: a copy there saves nothing."""

    @abstractmethod
    def _create(self, key: str, content: "Content") -> bool:
        """Writes `content` to a key without an object; False if one has appeared meanwhile."""

    @abstractmethod
    def _read(self, key: str, file: IO[bytes]) -> None:
        """Writes the object's content to an empty seekable `file`."""

    def _put(self, key: str, content: "Content", names_content: bool) -> bool:
        if not self.exists(key) and self._create(key, content):
            return True
        if self.holds(key, sha256=content.sha256, size=content.size):
            return False
        if not self.exists(key):
            raise StoreError(f"{self.url}/{key} is being written by another process: try again.")
        if names_content:
            self.delete(key)
            return self._put(key, content, names_content=False)
        raise ObjectExists(
            f"{self.url}/{key} is there already with other content: choose another name, or delete it first."
        )

    def _missing(self, key: str) -> ObjectNotFound:
        return ObjectNotFound(f"{self.url}/{key} does not exist: check the name and that what makes it has run.")


class Content:
    """Bytes or an open file that are to be stored; several threads may read them at once."""

    def __init__(self, content: bytes | memoryview | IO[bytes], sha256: str | None = None) -> None:
        self._content = content
        self._known = sha256
        self.size = len(content) if isinstance(content, bytes | memoryview) else os.fstat(content.fileno()).st_size

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return self._known or self._digest()

    def part(self, start: int, length: int) -> bytes:
        """At most `length` bytes from byte `start` on; fewer at the end of the content."""
        if isinstance(self._content, bytes | memoryview):
            return bytes(self._content[start : start + length])
        return os.pread(self._content.fileno(), length, start)

    def stream(self) -> io.RawIOBase:
        """The content as a file of its own position."""
        return _Stream(self)

    def blocks(self) -> Iterator[bytes]:
        """The content in blocks of BLOCK_BYTES."""
        return (self.part(start, BLOCK_BYTES) for start in range(0, self.size, BLOCK_BYTES))

    def equals(self, path: Path) -> bool:
        """True if the file `path` has the same content; far cheaper than two hashes."""
        with path.open("rb", buffering=0) as file:
            return os.fstat(file.fileno()).st_size == self.size and all(
                file.read(len(block)) == block for block in self.blocks()
            )

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()


def reopened(store: Store) -> Store:
    """The same store with connections of its own, for a process that was forked."""
    return copy.deepcopy(store)  # by way of __reduce__, as for any other process


class _Stream(io.RawIOBase):
    """A Content, read from a position that is nobody else's."""

    def __init__(self, content: Content) -> None:
        self._content, self._position = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._content.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._content.part(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def check_key(key: str) -> str:
    """Returns the key. Raises StoreLacks if it is ill-formed."""
    parts = key.split("/")
    if {"", ".", ".."} & set(parts) or is_hidden(key) or "\\" in key or not key.isprintable():
        raise StoreLacks(
            f"'{key}' can't name an object: use parts separated by '/', none empty, '.', '..' or '{HIDDEN}...'."
        )
    return key


def check_prefix(prefix: str) -> None:
    """Raises StoreError if no key can begin with `prefix`."""
    if prefix:
        check_key(prefix.removesuffix("/"))


def is_hidden(key: str) -> bool:
    """True if a part of the key is the name of a temporary file, a lock or a probe."""
    return any(part.startswith(HIDDEN) for part in key.split("/"))


def kind_of(error: OSError) -> type[StoreError]:
    """StoreLacks for an error of a disk that lasts, so that nobody waits for its end; StoreError for any other."""
    return StoreLacks if error.errno in _LASTING else StoreError


@contextmanager
def file_errors(place: str) -> Iterator[None]:
    """Context manager that turns an OSError into a StoreError that names `place`."""
    try:
        yield
    except OSError as error:
        raise kind_of(error)(
            f"{place} can't be used ({error.strerror or error}): check the path, its permissions and the disk."
        ) from error
