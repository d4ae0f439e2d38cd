"""Atomic writes of files, and a file lock for the processes of one machine."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock

from scn.core.errors import UserError

HIDDEN = ".scn-"
"""Prefix of the names of temporary files, locks and probes; data never has such a name."""
_STALE_SECONDS = 24 * 3600


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically: after a crash the file has its old content or all of the new.

    Raises:
        UserError: if the folder can't be made or written to.
    """
    try:
        with written_beside(path, lambda file: file.write(data)) as temporary:
            temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror}): name a file in a folder you may write to."
        ) from None


@contextmanager
def written_beside(path: Path, write: Callable[[IO[bytes]], object]) -> Iterator[Path]:
    """Context manager that gives a temporary file beside `path`, filled by `write` and synced to the disk.

    Move it to `path` inside of the `with`: what is left of it at the end is removed. The folder is made if needed.

    Args:
        write: is called with the open binary file and writes the content.
    Raises:
        OSError: if the folder can't be made or the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{HIDDEN}tmp-*"):  # left by a process that was killed
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


def locked(path: Path) -> AbstractContextManager[object]:
    """Context manager that waits for the file lock `path` and holds it.

    The lock excludes other threads and processes of this machine; it is released when its process dies.

    Raises:
        OSError: if the lock file can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)
