"""Memory that the processes of a machine share: one of them fills it, the others map it."""

import glob
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from scn.core.files import locked


def shared_memory(folder: Path, name: str, size: int, fill: Callable[[Tensor], bytes]) -> tuple[Tensor, bytes]:
    """Returns memory that all processes of this machine that ask for `name` share; the first of them fills it.

    It is an anonymous file in memory (memfd), which the processes find through /proc. So it needs no room in /dev/shm,
    of which a container has 64 MiB, writes nothing to a disk, and is gone when the last process that uses it has let go
    of it or was killed.

    Args:
        folder: holds the locks.
        name: names the content: the same for the same bytes only.
        size: number of bytes.
        fill: writes the memory and returns a note for those who don't; an empty note leaves the memory unshared.
    Returns:
        the memory, uint8 (size,), to be read only; and the note.
    Raises:
        OSError: if the machine has no such memory, or too little of it.
    """
    # One of some locks, which stay behind: who asks for another name hardly ever waits.
    with locked(folder / f"memory-{name[:3]}.lock"):
        if (found := _found(name, size)) is not None:
            try:
                return _mapped(found, size), os.pread(found, os.fstat(found).st_size - size, size)
            finally:
                os.close(found)
        made = os.memfd_create(_title(name))
        try:
            os.posix_fallocate(made, 0, size)  # lack of memory is an error here, and would be a signal later
            memory = _mapped(made, size)
            note = fill(memory)
            os.pwrite(made, note, size)  # from now on it is longer than `size`, and so others take it to be whole
            return memory, note
        finally:
            os.close(made)  # the mapping keeps it


def _mapped(file: int, size: int) -> Tensor:
    return torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)


def _found(name: str, size: int) -> int | None:
    """An open file of that name that is whole, from a process of this machine that has mapped it; None without one."""
    title = f"/memfd:{_title(name)} (deleted)"
    for link in glob.iglob("/proc/[0-9]*/fd/*"):  # noqa: PTH207 - pathlib raises when a process ends meanwhile
        with suppress(OSError):  # another user's process, or one that has ended
            if str(Path(link).readlink()) == title:
                file = os.open(link, os.O_RDWR)
                if os.fstat(file).st_size > size:
                    return file
                os.close(file)
    return None


def _title(name: str) -> str:
    return f"scn-{name}"
