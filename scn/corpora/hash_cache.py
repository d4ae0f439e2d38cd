"""Remembers what reading a file told, so that a file whose size, times and inode are the same is not read again.

The rule is git's. A stamp holds size, time of the content's change, time of the inode's change, and inode: whoever
sets the first time back after a change sets the second. A file that changed less than SETTLED_NS before it was read has
no stamp, as it may change once more within the same tick of the file system's clock: it is read again next time.
"""

import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from sys import intern
from types import TracebackType
from typing import NamedTuple, Self

from PIL import features

from scn.core.hashing import code_sha256, digest, sources
from scn.corpora.images import found_pillow

FOLDER = Path(".scn/hashes")
"""Folder of the cache below the project's; it may be removed at any time."""
SETTLED_NS = 2_000_000_000
"""Nanoseconds between a change and the reading of a file, from which its stamp is trusted: FAT counts in 2 seconds."""

_WAIT_S = 60  # for another process that writes
_EVERY_S = 1.0  # from one writing to the next: each waits for the disk
_TABLE = """
CREATE TABLE IF NOT EXISTS files (
  path TEXT PRIMARY KEY, stamp TEXT NOT NULL, code TEXT NOT NULL,
  sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, mode TEXT NOT NULL,
  refusal TEXT
) WITHOUT ROWID
"""


class Facts(NamedTuple):
    """What reading an image file tells."""

    sha256: str
    """SHA-256 of the file, in hexadecimal."""
    bytes: int
    """Size of the file in bytes."""
    width: int
    """Width of the decoded image in pixels; 0 if the header can't be read."""
    height: int
    """Height of the decoded image in pixels; 0 if the header can't be read."""
    mode: str
    """Pillow's mode of the pixels in the file; "" if the header can't be read."""
    refusal: str | None
    """Sentence that says why the image can't be used, with PATH in place of its path; None if nothing tells so yet."""


PATH = "<path>"
"""Stands for the file's path in a refusal, as the same file may be reached by several."""


def stamp(status: os.stat_result) -> str:
    """What a file is recognised by: size, times of change of its content and its inode in nanoseconds, and inode."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def settled(status: os.stat_result, now_ns: int) -> bool:
    """Returns True if a file had not changed for SETTLED_NS at the time `now_ns`."""
    return max(status.st_mtime_ns, status.st_ctime_ns) < now_ns - SETTLED_NS


class HashCache:
    """The facts of files by path and stamp, in an SQLite database that the processes of a machine share.

    Use it as a context manager. A cache that can't be used costs time and nothing else, which is told once.
    """

    def __init__(self, root: Path) -> None:
        """
        Args:
            root: the project's folder.
        """
        self._file = root / FOLDER / "files.sqlite"
        self._database: sqlite3.Connection | None = None
        self._new: dict[str, tuple[str, Facts]] = {}
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, read-only, a full disk
                    raise
                self._file.unlink(missing_ok=True)  # damaged
                self._open()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write()
        if self._database:
            self._database.close()
            self._database = None

    def known(self, paths: Sequence[str]) -> Mapping[str, tuple[str, Facts]]:
        """The stamps and facts of those of the paths, at most some thousands, that the cache holds."""
        if not self._database:
            return {}
        marks = ",".join("?" * len(paths))
        query = f"SELECT path, stamp, {','.join(Facts._fields)} FROM files WHERE code = ? AND path IN ({marks})"
        try:
            rows = self._database.execute(query, (_code(), *paths))
            return {path: (known, _facts(*facts)) for path, known, *facts in rows}
        except sqlite3.Error as error:
            self._give_up(error)
            return {}

    def add(self, rows: Iterable[tuple[str, str, Facts]]) -> None:
        """Remembers paths with their stamps and facts; a process that is killed loses those of the last second."""
        self._new |= {path: (known, facts) for path, known, facts in rows}
        if time.monotonic() > self._written + _EVERY_S:
            self._write()

    def _open(self) -> None:
        self._database = sqlite3.connect(self._file, timeout=_WAIT_S, isolation_level=None)
        self._database.execute(_TABLE)

    def _write(self) -> None:
        self._written = time.monotonic()
        new, self._new = self._new, {}
        if not (self._database and new):
            return
        rows = [(path, known, _code(), *facts) for path, (known, facts) in new.items()]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(f"INSERT OR REPLACE INTO files VALUES ({','.join('?' * len(rows[0]))})", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        detail = " ".join(str(error).split())
        print(
            f"{self._file} can't be used ({detail}), so files are read again next time: make it writable or remove it.",
            file=sys.stderr,
        )
        if self._database:
            self._database.close()
            self._database = None


def _facts(sha256: str, size: int, width: int, height: int, mode: str, refusal: str | None) -> Facts:
    return Facts(sha256, size, width, height, intern(mode), refusal)  # a million images share one "RGB"


@cache
def _code() -> str:
    """Everything that decides the facts of a file besides its content."""
    return digest([code_sha256(sources("scn/corpora/images.py")), found_pillow(), features.check("webp")])[:16]
