"""Memory that processes share: filled by one, never seen half filled, and gone with the last of them."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from torch import Tensor

from scn.data.shared_memory import _found, shared_memory

SIZE = 5000
CHILD = """
import sys, time
from pathlib import Path
from scn.data.shared_memory import shared_memory

def fill(memory):
    memory[: int(sys.argv[2])] = 7
    if int(sys.argv[2]) < len(memory):
        print("filling", flush=True)
        time.sleep(600)
    return b"of the child"

memory, note = shared_memory(Path(sys.argv[1]), sys.argv[3], 5000, fill)
print("filled", flush=True)
time.sleep(600)
"""


@pytest.fixture
def name() -> str:
    """A name that no other test on this machine has."""
    return uuid4().hex


def filling(value: int, calls: list[int]) -> Callable[[Tensor], bytes]:
    def fill(memory: Tensor) -> bytes:
        calls.append(value)
        memory.fill_(value)
        return f"filled with {value}".encode()

    return fill


def refused(memory: Tensor) -> bytes:
    raise AssertionError("it is there already")


def test_the_first_fills_it_for_all(tmp_path: Path, name: str) -> None:
    calls, barrier = list[int](), Barrier(6)

    def ask(value: int) -> tuple[Tensor, bytes]:
        barrier.wait()
        return shared_memory(tmp_path, name, SIZE, filling(value, calls))

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, range(6)))
    (value,) = calls
    for memory, note in found:
        assert memory.tolist() == [value] * SIZE
        assert note == f"filled with {value}".encode()
    found[0][0][17] = 99
    assert all(memory[17] == 99 for memory, _ in found)  # the same memory, not copies of it
    shared_memory(tmp_path, f"{name}-b", SIZE, filling(8, calls))
    assert calls == [value, 8]


def test_it_lives_as_long_as_anyone_uses_it(tmp_path: Path, name: str) -> None:
    calls = list[int]()
    first, _ = shared_memory(tmp_path, name, SIZE, filling(1, calls))
    second, _ = shared_memory(tmp_path, name, SIZE, refused)
    del first
    third, _ = shared_memory(tmp_path, name, SIZE, refused)
    assert third.tolist() == [1] * SIZE
    del second, third
    assert _found(name, SIZE) is None
    assert shared_memory(tmp_path, name, SIZE, filling(2, calls))[0].tolist() == [2] * SIZE
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_what_is_not_whole_is_not_found(tmp_path: Path, name: str) -> None:
    kept = list[Tensor]()

    def breaks(memory: Tensor) -> bytes:
        kept.append(memory)
        assert _found(name, SIZE) is None
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        shared_memory(tmp_path, name, SIZE, breaks)
    kept.append(shared_memory(tmp_path, name, SIZE, lambda memory: b"")[0])  # nor what was given up
    assert _found(name, SIZE) is None
    calls = list[int]()
    shared_memory(tmp_path, name, SIZE, filling(3, calls))
    assert calls == [3]


def test_lack_of_memory_is_an_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Cannot allocate memory"):
        shared_memory(tmp_path, name, SIZE, refused)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_process_that_is_killed_leaves_neither_half_a_memory_nor_a_lock(tmp_path: Path, name: str) -> None:
    def child(filled: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(filled), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def said(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    with child(2000) as half:
        assert said(half) == "filling"
        with child(SIZE) as whole:  # waits for the first
            half.kill()
            assert said(whole) == "filled"
            memory, note = shared_memory(tmp_path, name, SIZE, refused)
            whole.kill()
    assert note == b"of the child"
    assert memory.tolist() == [7] * SIZE  # who has mapped it keeps it, and passes it on
    assert shared_memory(tmp_path, name, SIZE, refused)[0].tolist() == [7] * SIZE
    del memory
    assert _found(name, SIZE) is None
