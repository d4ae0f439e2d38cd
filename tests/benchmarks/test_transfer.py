"""The benchmark of the stores compares what it says; no test depends on a time."""

import json
from pathlib import Path

import pytest

from benchmarks import transfer


@pytest.mark.integration
def test_both_stores_are_compared_with_bare_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    monkeypatch.setattr("sys.argv", ["transfer", "--mib", "9", "--runs", "1", "--json", str(result)])
    transfer.main()
    written = json.loads(result.read_text())
    assert written["title"] == "9 MiB there and back"
    names = ["file store", "bare copy, on the disk", "bare copy, in memory"]
    names += ["S3 store", "bare boto3, store's settings", "bare boto3, its defaults"]
    assert [row["transfer"] for row in written["rows"]] == names
    for row in written["rows"]:
        assert row["mb_per_s"] == pytest.approx(2 * 9 * 2**20 / 1e6 / (row["median_ms"] / 1e3))
        assert (row["store_share"] == 1) == (row["transfer"] in ("file store", "S3 store"))
    assert capsys.readouterr().out.startswith("9 MiB there and back\n\n| transfer ")
