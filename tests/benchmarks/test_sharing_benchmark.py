"""The benchmark of shared memory counts what processes read, and what they hold of it."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import sharing


def test_processes_that_share_read_once_and_hold_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SIZE", (512, 512))
    monkeypatch.setattr(sharing, "PROCESSES", (2,))
    apart, shared, again = sharing.rows(tmp_path, images=8)
    assert [row["way"] for row in (apart, shared, again)] == ["apart", "shared", "again"]
    assert apart["decoded"] == 2 * shared["decoded"] == 2 * shared["decoded_by_most"]
    assert apart["fetched_mib"] == 2 * shared["fetched_mib"]
    assert again["fetched_mib"] == 0
    assert shared["memory_mib"] < apart["memory_mib"]


def test_nobody_waits_for_a_process_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(number: int, barrier: threading.Barrier) -> None:
        if number:
            raise ValueError("no room")
        barrier.wait()

    def process(number: int) -> None:
        try:
            sharing._process(number, barrier)
        except Exception as error:
            errors.append(type(error))

    barrier, errors = threading.Barrier(2, timeout=500), list[type]()
    monkeypatch.setattr(sharing, "_load", load)
    threads = [threading.Thread(target=process, args=(number,)) for number in (0, 1)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(error.__name__ for error in errors) == ["BrokenBarrierError", "ValueError"]
    assert time.monotonic() - start < 300


def test_processes_that_failed_are_told(tmp_path: Path) -> None:
    nothing: Any = SimpleNamespace(model_dump=dict)
    with pytest.raises(RuntimeError, match=r"^2 of 2 processes failed: see above$"):
        sharing._work(2, tmp_path, nothing, nothing, None)
