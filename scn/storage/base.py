"""The interface of a store; scn.storage.local and scn.storage.s3 implement it. It knows nothing of shards or models.

Objects are immutable: written once, whole or not at all, and checked before they count as written. What moves is a
small pointer, written with a compare-and-swap. A store pickles as its URL. Open one per process: a boto3 client does
not survive a fork.
"""

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from scn.core.errors import UserError
from scn.core.files import HIDDEN, written_beside

Token = str | None
"""What `read_pointer` saw: equal tokens mean an unmoved pointer; None: there was no pointer."""

PART_BYTES = 8 * 1024**2  # of an upload to S3
BLOCK_BYTES = 1024**2  # at once from a disk; more would not stay in the CPU's cache


class StoreError(UserError):
    """The store can't do what was asked; the message names the place and the remedy."""


class ObjectNotFound(StoreError):  # noqa: N818 - a finding, not always an error
    """No object has this key."""


class ObjectExists(StoreError):  # noqa: N818
    """The key holds other content, and objects never change."""


class Store(ABC):
    """Immutable objects and movable pointers, by key: parts separated by '/', none empty, '.' or '..'.

    Every method raises StoreError for an ill-formed key and when the service or the disk fails.
    """

    url: str
    """Absolute: opens the same store from any folder and process."""

    def put(
        self, key: str, data: bytes | memoryview, *, sha256: str | None = None, names_content: bool = False
    ) -> bool:
        """Stores `data`; False if it was there already, ObjectExists if something else was.

        What was written is compared with `data` (see the stores) before it counts as an object: if it differs,
        StoreError, and there is no object.

        Args:
            sha256: of `data`, in hexadecimal, if it is known already: spares computing it.
            names_content: the key holds a hash of the content, or of all that decides it; other content under it is
                a damaged object, which `data` replaces.
        """
        return self._put(key, Source(data, sha256), names_content)

    def put_file(self, key: str, path: Path, *, sha256: str | None = None, names_content: bool = False) -> bool:
        """Like `put`, for a file of any size."""
        with file_errors(str(path)), path.open("rb") as file:
            return self._put(key, Source(file, sha256), names_content)

    def get(self, key: str) -> bytes:
        """The object's content; ObjectNotFound if there is none."""
        check_key(key)
        buffer = io.BytesIO()
        self._read(key, buffer)
        return buffer.getvalue()

    def get_file(self, key: str, path: Path) -> None:
        """Copies the object to `path`, which is replaced whole or left alone; ObjectNotFound if there is none."""
        check_key(key)
        with file_errors(str(path)), written_beside(path, lambda file: self._read(key, file)) as temporary:
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

    def _put(self, key: str, source: "Source", names_content: bool) -> bool:
        if not self.exists(key) and self._create(key, source):
            return True
        if self.holds(key, sha256=source.sha256, size=source.size):
            return False
        if not self.exists(key):
            raise StoreError(f"{self.url}/{key} is being written by another process: try again.")
        if names_content:
            self.delete(key)
            return self._put(key, source, names_content=False)
        raise ObjectExists(
            f"{self.url}/{key} is there already with other content: choose another name, or delete it first."
        )

    def _missing(self, key: str) -> ObjectNotFound:
        return ObjectNotFound(f"{self.url}/{key} does not exist: check the name and that what makes it has run.")


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
def file_errors(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{place} can't be used ({error.strerror or error}): check the path, its permissions and the disk."
        ) from error
