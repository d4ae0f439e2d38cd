"""The benchmark of indexing measures every case, and reads what it says it reads."""

from pathlib import Path

import pytest

from benchmarks import indexing
from scn.corpora import reading


def test_every_case_has_a_row_and_reads_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LARGE", 1000)
    monkeypatch.setattr(indexing, "SETTLED_NS", 0)
    monkeypatch.setattr("scn.corpora.hash_cache.SETTLED_NS", -1_000_000_000)
    read: list[str] = []
    original = reading.read_file
    monkeypatch.setattr("scn.corpora.reading.read_file", lambda path: (read.append(path), original(path))[1])
    params = indexing.write_corpus(tmp_path, files=1001, large=2)
    rows = indexing.small_rows(params, runs=1, workers=2)
    assert [row["files"] for row in rows] == [1001] * 7
    assert len(read) == 3 * 1001 + 1  # first time twice, check, and the one file that changed
    (row,) = indexing.large_rows(params, runs=1)
    assert (row["files"], row["MB/s"] > 0) == (2, True)
