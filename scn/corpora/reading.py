"""Reads image files for what there is to know before they are decoded: their hashes, sizes and headers.

Files that scn.corpora.hash_cache knows are not read. Where there is much to read, processes of this machine do it, or
those of all nodes of a cluster; a few files take less time here than starting these.
"""

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from stat import S_ISREG
from sys import intern

from scn.core.errors import UserError
from scn.core.parallel import carry_out
from scn.corpora.hash_cache import PATH, Facts, HashCache, settled, stamp
from scn.corpora.images import read_header

_GROUP, _GROUP_BYTES = 1000, 256 * 2**20  # files, and bytes, that a process reads at a time
_STATUSES = 16  # threads that ask for sizes and times, as over a network each answer takes a while
_PIECE = 250  # files that such a thread asks for at a time
_READERS = 4  # threads of a process that read, for the same reason
_FILE_S, _BYTE_S = 3e-4, 3e-9  # to read a small file, and a byte of a large one, on one core
_WORTH_S = 10.0  # of reading on one core, from which processes are started

_header_lock = threading.Lock()  # reading a header changes the process's warning filters meanwhile


def facts_of(
    paths: Sequence[Path], root: Path, workers: int = 0, *, recheck: bool = False
) -> tuple[list[Facts], list[int]]:
    """Hashes files and reads their headers, but those that have not changed since that was last done.

    Args:
        root: the project's folder, which holds the cache.
        workers: number of processes for many files, as for scn.core.parallel.carry_out; 0: this one.
        recheck: reads every file whatever the cache says, and corrects the cache.
    Returns:
        The facts of each file, and the numbers of those whose content is another than the cache says although they
        seem unchanged, which only `recheck` finds.
    Raises:
        UserError: if a file can't be read.
    """
    found = list[Facts | None]()
    stamps, groups = dict[int, str](), _Groups()
    with HashCache(root) as known:
        for number, (size, settled_stamp, facts) in enumerate(_remembered(paths, known)):
            found.append(facts)
            if facts is None or recheck:
                groups.add(number, size)
                stamps[number] = settled_stamp
        jobs = [tuple(str(paths[number]) for number in group) for group in groups.all]
        differing = list[int]()
        for job, read in carry_out(_read_group, jobs, workers if groups.seconds > _WORTH_S else 0, unit="file group"):
            rows = []
            for number, facts in zip(groups.all[job], read, strict=True):
                if (before := found[number]) and before.sha256 != facts.sha256:
                    differing.append(number)
                found[number] = facts
                if told := stamps.pop(number):
                    rows.append((_key(paths[number]), told, facts))
            known.add(rows)
    return [facts for facts in found if facts], sorted(differing)


def read_file(path: Path | str) -> bytes:
    """The content of a corpus's file. Raises UserError if it can't be read."""
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            if not S_ISREG(os.fstat(file.fileno()).st_mode):  # a link to a device may have no end
                raise UserError(f"{path} leads to no file, but to a device or a pipe: take it out of the corpus.")
            return file.readall()
    except FileNotFoundError:
        hint = "put it back or take it out of the corpus; every node of a cluster must see it at this path"
        raise UserError(f"{path} is not there: {hint}.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): mend it or take it out of the corpus.") from None


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file as `open` does, but does not wait for somebody to write into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Groups:
    """Numbers of files in groups for one process each, and the time that reading them all may take on one core."""

    def __init__(self) -> None:
        self.all = list[list[int]]()
        self.seconds = 0.0
        self._bytes = 0

    def add(self, number: int, size: int) -> None:
        """Adds the number of a file of `size` bytes."""
        if not self.all or len(self.all[-1]) == _GROUP or self._bytes + size > _GROUP_BYTES:
            self.all.append([])
            self._bytes = 0
        self.all[-1].append(number)
        self._bytes += size
        self.seconds += _FILE_S + _BYTE_S * size


def _remembered(paths: Sequence[Path], known: HashCache) -> Iterator[tuple[int, str, Facts | None]]:
    """Yields each file's size in bytes, its stamp ("" if it has none), and its facts if that is the stamp they have."""
    with ThreadPoolExecutor(_STATUSES) as pool:
        for start in range(0, len(paths), _STATUSES * _PIECE):
            part = paths[start : start + _STATUSES * _PIECE]
            pieces = [part[first : first + _PIECE] for first in range(0, len(part), _PIECE)]
            keys = [_key(path) for path in part]
            held = known.known(keys)
            statuses = (status for piece in pool.map(_statuses, pieces) for status in piece)
            for key, (size, now) in zip(keys, statuses, strict=True):
                before, facts = held.get(key, ("", None))
                yield size, now, facts if now and now == before else None


def _statuses(paths: Sequence[Path]) -> list[tuple[int, str]]:
    """Size and stamp of files; a stamp is "" where a file changed too lately, or is not there."""
    found, now = [], time.time_ns()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - as above
        except OSError:  # is told when it is read
            found.append((0, ""))
            continue
        found.append((status.st_size, stamp(status) if settled(status, now) else ""))
    return found


def _key(path: Path) -> str:
    """The path of a file without links to folders: a clone of a project, which links to its corpora, has the same."""
    folder, _, name = str(path).rpartition("/")
    return f"{_real(folder)}/{name}"


@cache
def _real(folder: str) -> str:
    return str(Path(folder or "/").resolve()).rstrip("/")


def _read_group(paths: Sequence[str]) -> list[Facts]:
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(_facts, paths))


def _facts(path: str) -> Facts:
    data = read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    with _header_lock:
        header = read_header(data, Path(path))
    return Facts(
        sha256=sha256,
        bytes=len(data),
        width=header.width,
        height=header.height,
        mode=intern(header.mode),
        refusal=header.refused and header.refused.replace(path, PATH),
    )
