"""The benchmark of shared memory counts what processes read, and what they hold of it."""

from pathlib import Path

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
