"""Measures how time and memory of `data-prep shard` grow with the number of images."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.measure import Row

EVERY = 0.05
"""Seconds between two measurements of the memory."""


def rows(root: Path, counts: Sequence[int]) -> list[Row]:
    """Runs `data-prep shard` on the first images of `root`/photographs into an empty store; a row for each count.

    Memory is the sum over all processes that the command started, Ray's own among them. Memory that they share counts
    once for each, so this is an upper bound.

    Args:
        counts: numbers of images.
    """
    found: list[Row] = []
    for count in sorted(counts):
        with tempfile.TemporaryDirectory(dir=root) as temporary:
            folder, store = Path(temporary, "first"), Path(temporary, "store")
            folder.mkdir()
            for path in sorted((root / "photographs").glob("*.png"))[:count]:
                (folder / path.name).hardlink_to(path)
            seconds, peak = _run(root, folder, store)
            tars = [path.stat().st_size for path in store.rglob("*.tar")]
            found.append(
                {
                    "images": count,
                    "seconds": seconds,
                    "images/s": count / seconds,
                    "shards": len(tars),
                    "stored_gb": sum(tars) / 1e9,
                    "peak_rss_gb": peak / 1e9,
                }
            )
    return found


def _run(root: Path, folder: Path, store: Path) -> tuple[float, int]:
    """Seconds and peak memory in bytes of `data-prep shard`."""
    what = ["shard", "--experiment", "sr-x2", "--out", str(store / "manifests"), "--images", str(folder)]
    where = ["--params", str(root / "params.yaml"), "--store", f"file://{store}"]
    command = [sys.executable, "-m", "data_prep", *what, *where]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    tree = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        with suppress(psutil.NoSuchProcess):
            for one in [tree, *tree.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    total += one.memory_info().rss
        peak = max(peak, total)
        time.sleep(EVERY)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return time.perf_counter() - start, peak
