"""The cost of finding out which images a corpus has: of all files, of none that changed, and of one.

    python -m benchmarks.indexing [--json FILE] [--runs N] [--files N] [--large N]

Small files are PNG images of 32x32 pixels (3 kB), in folders of 1,000; large ones have 64 MB of random bytes.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import Row, medians, on_this_machine, parser, table, write_json
from scn.config.data import CorporaConfig, StorageConfig
from scn.config.params import Params
from scn.core.cpus import cpu_count
from scn.core.ray import stop_ray
from scn.corpora.corpora import list_images, listing_of, open_corpus
from scn.corpora.hash_cache import FOLDER, SETTLED_NS
from scn.corpora.places import places_of

TITLE = "Indexing a corpus"
LARGE = 64_000_000
"""Bytes of a large file."""


def write_corpus(root: Path, files: int, large: int) -> Params:
    """Writes the corpora "small", of `files` images, and "large" into `root`; returns parameters that name them.

    Waits until their times are old enough for the cache.
    """
    generator = np.random.default_rng(0)
    for number in range(files):
        path = root / "small" / f"{number // 1000:04d}" / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, compress_level=0)
    (root / "large").mkdir()
    for number in range(large):
        (root / "large" / f"{number:03d}.png").write_bytes(generator.bytes(LARGE))
    time.sleep(SETTLED_NS / 1e9 + 0.1)
    corpora = CorporaConfig(local={"small": "small", "large": "large"})
    return Params(path=root / "params.yaml", storage=StorageConfig(), corpora=corpora, experiments={})


def small_rows(params: Params, runs: int, workers: int) -> list[Row]:
    """Times what is done with many small files; a row for each, with the processor's time in this process."""
    (place,) = places_of(params, "small")
    count = len(list_images(place, "small", "")[0])
    cpu: dict[str, list[float]] = {}

    def timed(name: str, function: Callable[[], object]) -> None:
        start = time.process_time()
        function()
        cpu.setdefault(name, []).append(time.process_time() - start)

    jobs: dict[str, Callable[[], object]] = {
        "list them": lambda: list_images(place, "small", ""),
        "look (sizes, times and inodes as JSON)": lambda: listing_of(params, "small"),
        "first time, one process": lambda: _anew(params, 0),
        f"first time, {workers} processes": lambda: _anew(params, workers),
        "nothing changed": lambda: open_corpus(params, "small"),
        "one file changed": lambda: _one_changed(params),
        "check: all, one process": lambda: open_corpus(params, "small", recheck=True),
    }
    taken = medians({name: partial(timed, name, job) for name, job in jobs.items()}, runs, warm_up=0)
    stop_ray()
    return [
        {
            "what": name,
            "files": count,
            "median_s": timing.median,
            "us per file": timing.median / count * 1e6,
            "cpu_s": float(np.median(cpu[name])),
            "times the first": timing.over(taken["first time, one process"]),
        }
        for name, timing in taken.items()
    ]


def large_rows(params: Params, runs: int) -> list[Row]:
    """Times reading and hashing large files in one process; a row with the rate per core."""
    cpu = list[float]()

    def check() -> None:
        start = time.process_time()
        open_corpus(params, "large", recheck=True)
        cpu.append(time.process_time() - start)

    taken = medians({"check": check}, runs)
    count = len(open_corpus(params, "large").images)
    megabytes = count * LARGE / 1e6
    return [
        {
            "what": "large files, one process",
            "files": count,
            "median_s": taken["check"].median,
            "MB/s": megabytes / taken["check"].median,
            "MB/s per second of a core": megabytes / float(np.median(cpu[1:])),
        }
    ]


def _anew(params: Params, workers: int) -> None:
    (params.root / FOLDER / "files.sqlite").unlink(missing_ok=True)
    open_corpus(params, "small", workers)


def _one_changed(params: Params) -> None:
    path = next((params.root / "small").rglob("*.png"))
    path.write_bytes(path.read_bytes())
    open_corpus(params, "small")


def main() -> None:
    arguments = parser(__doc__, runs=3)
    arguments.add_argument("--files", type=int, default=100_000, help="number of small files (default: %(default)s)")
    arguments.add_argument("--large", type=int, default=8, help="number of large files (default: %(default)s)")
    chosen = arguments.parse_args()
    on_this_machine()
    with tempfile.TemporaryDirectory() as temporary:
        params = write_corpus(Path(temporary), chosen.files, chosen.large)
        small, large = small_rows(params, chosen.runs, cpu_count()), large_rows(params, chosen.runs)
    print(f"{table(small)}\n\n{table(large)}")
    write_json(chosen.json, TITLE, [*small, *large])


if __name__ == "__main__":
    main()
