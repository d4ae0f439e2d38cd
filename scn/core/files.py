"""Files and folders that appear whole or not at all, and the lock that processes of one machine share."""

import errno
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from scn.core.errors import DiskFullError, UserError

HIDDEN = ".scn-"
"""Prefix of the names of temporary files, locks and probes; data never has such a name."""
_STALE_SECONDS = 24 * 3600
_ATTEMPTS = 100


def write_atomically(path: Path, data: bytes, *, private: bool = False) -> None:
    """Writes `data` to `path` atomically: after a crash the file has its old content or all of the new.

    Args:
        private: nobody but the user may read it, from the first byte on.
    Raises:
        UserError: if the folder can't be made or written to; DiskFullError if there is no room.
    """
    try:
        with written_beside(path, lambda file: file.write(data), 0o600 if private else 0o666) as temporary:
            temporary.replace(path)
    except OSError as error:
        raise unwritten(path, error) from None


def unwritten(where: Path | str, error: OSError) -> UserError:
    """The error for what can't be written to `where`: a DiskFullError if there is no room."""
    told = f"{where} can't be written ({error.strerror})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{told}: make room there.")
    return UserError(f"{told}: name a file in a folder you may write to.")


def check_local(option: str, path: Path, what: str) -> None:
    """Raises UserError for a URL of a store: it would be a path beginning with a folder `s3:` here."""
    if path.parts and path.parts[0].endswith(":") and not path.exists():
        given = str(path).replace(":/", "://", 1)  # of which a path keeps one slash
        raise UserError(f"{option}: {given} is no path on this machine: name {what} here.")


def check_folder(option: str, path: Path) -> None:
    """Raises UserError, before hours of work, unless a folder, which need not exist yet, can be written to."""
    check_local(option, path, "a folder")
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{option}: {there} is no folder that can be written to: name another one.")


@contextmanager
def written_beside(path: Path, write: Callable[[IO[bytes]], object], mode: int = 0o666) -> Iterator[Path]:
    """Context manager that gives a temporary file near `path`, filled by `write` and synced to the disk.

    Move it to `path` inside of the `with`: what is left of it at the end is removed. The folder is made if needed.
    Temporary files lie in a hidden folder beside `path`, which is there only while they are: so to look for those of
    killed processes takes the same time however many files lie beside `path`.

    Args:
        write: is called with the open binary file and writes the content.
        mode: with which it is made, less the umask.
    Raises:
        OSError: if the folder can't be made or the file can't be written.
    """
    file = _new_file(path.parent / f"{HIDDEN}tmp", mode)
    temporary = Path(file.name)
    try:
        with file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):  # other processes write there, or one of them has removed it
            temporary.parent.rmdir()


def _new_file(folder: Path, mode: int) -> IO[bytes]:
    """Opens a new file in `folder`, and removes from there what processes have left that were killed long ago."""
    for left in range(_ATTEMPTS, 0, -1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / uuid.uuid4().hex
            file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode))  # noqa: SIM115 - the caller's
            break
        except (FileNotFoundError, FileExistsError):  # another process has just removed the folder
            if left == 1:
                raise
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                path.unlink()
    return file


def private_folder(path: Path) -> Path:
    """Makes a folder that only the user can reach, if it is not there; returns it.

    Where another user has made `path`, or can reach it, that is a new folder beside it.

    Raises:
        OSError: if it can't be made.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        return Path(tempfile.mkdtemp(prefix="scn-", dir=path.parent))
    return path


def replace_folder(new: Path, target: Path) -> None:
    """Gives the folder `new` the name `target` in the same place; what had that name before is removed.

    A process that dies meanwhile leaves the old folder, the new one, or none of that name: never a mixture.

    Raises:
        OSError: if a folder can't be renamed.
    """
    old = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)  # of a process that was killed
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def locked(path: Path, waits: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Holds the lock `path` among the threads and processes of this machine; a process that dies lets go of it.

    Args:
        waits: is called once if another holds the lock and this one has to wait.
    Raises:
        OSError: if the lock file can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waits()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
