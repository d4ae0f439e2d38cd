"""What the processes of one machine fetch, decode and hold of a corpus, with and without the memory that they share.

    python -m benchmarks.sharing [--json FILE] [--images N]

Generated images of 2040x1356 pixels, as shards of super-resolution by 2, in a folder that stands for a store on another
machine; 1, 2 and 4 processes load all of them for training. `apart`: every process reads by itself, without a cache, as
in the first version. `shared`: as the processes of torchrun or Ray Train do. `again`: another run after `shared`, with
its cache. `memory_mib` is what loading adds to the proportional set sizes (PSS, Linux) of all processes together.
"""

import multiprocessing
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.measure import Row, parser, table, write_json
from benchmarks.photographs import HEIGHT, WIDTH
from benchmarks.shards import write_project
from data_prep.prepare import make_manifests
from scn.config.params import Experiment
from scn.data import open_feed
from scn.data.groups import image_bytes
from scn.shards import samples
from scn.shards.manifest import TrainingManifest
from scn.storage.local import FileStore

TITLE = "What the processes of a machine fetch, decode and hold"
SIZE = HEIGHT, WIDTH
PROCESSES = 1, 2, 4
LIMIT_S = 600.0
"""Seconds after which a process that waits for the others gives up: one of them may have been killed."""


class FarStore(FileStore):
    """A folder that stands for a store on another machine, and counts the bytes that are fetched from it."""

    fetched = 0

    def get(self, key: str) -> bytes:
        content = super().get(key)
        self.fetched += len(content)
        return content

    def shares_disk_with(self, folder: Path) -> bool:
        return False


class Work(NamedTuple):
    """What one process did."""

    fetched: int
    """Bytes that it fetched from the store."""
    decoded: int
    """Sub-images that it decoded."""
    memory: float
    """MiB by which its proportional set size grew while all processes held the images."""


def rows(root: Path, images: int) -> list[Row]:
    """Returns a row for each way and number of processes."""
    params = write_project(root, images, SIZE)
    (manifest, _), _ = make_manifests(params, "sr-x2", store_url=f"file://{root / 'store'}", workers=0)
    experiment = params.experiment("sr-x2")
    held = sum(image_bytes(experiment, *SIZE) for _ in range(images)) / 2**20
    result: list[Row] = []
    for processes in PROCESSES:
        for way in ("apart", "shared", "again"):
            cache = None if way == "apart" else root / f"cache-{processes}"
            done = _work(processes, root, manifest, experiment, cache)
            result.append(
                {
                    "way": way,
                    "processes": processes,
                    "fetched_mib": sum(work.fetched for work in done) / 2**20,
                    "decoded": sum(work.decoded for work in done),
                    "decoded_by_most": max(work.decoded for work in done),
                    "memory_mib": sum(work.memory for work in done),
                    "images_mib": held,
                }
            )
    return result


def _work(
    processes: int, root: Path, manifest: TrainingManifest, experiment: Experiment, cache: Path | None
) -> list[Work]:
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(processes, timeout=LIMIT_S), context.Queue()
    arguments = (processes, barrier, queue, root, manifest.model_dump(), experiment.model_dump(), cache)
    started = [context.Process(target=_process, args=arguments) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()  # what each has put is small: it waits for nobody to take it
    if failed := sum(process.exitcode != 0 for process in started):
        raise RuntimeError(f"{failed} of {processes} processes failed: see above")
    return [queue.get() for _ in started]


def _process(processes: int, barrier: Any, *arguments: Any) -> None:
    try:
        _load(processes, barrier, *arguments)
    except BaseException:
        barrier.abort()  # nobody waits for this one
        raise


def _load(
    processes: int,
    barrier: Any,
    queue: Any,
    root: Path,
    manifest: dict[str, Any],
    experiment: dict[str, Any],
    cache: Path | None,
) -> None:
    os.environ["LOCAL_WORLD_SIZE"] = str(processes)
    store, decoded, decode = FarStore(root / "store"), 0, samples.decode

    def counted(members: Mapping[str, bytes], level: int) -> samples.Sample:
        nonlocal decoded
        decoded += 1
        return decode(members, level)

    samples.decode = counted
    made = TrainingManifest.model_validate(manifest)
    feed = open_feed(store, made, Experiment.model_validate(experiment), torch.device("cpu"), cache=cache)
    barrier.wait()
    before = _pss_mib()
    barrier.wait()
    feed.prepare(0)
    barrier.wait()
    grown = _pss_mib() - before
    barrier.wait()
    feed.close()
    queue.put(Work(store.fetched, decoded, grown))


def _pss_mib() -> float:
    found = re.search(r"Pss:\s*(\d+)", Path("/proc/self/smaps_rollup").read_text())
    assert found
    return int(found[1]) / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(__doc__, runs=1)
    arguments.add_argument("--images", type=int, default=16, metavar="N", help="images (default: %(default)s)")
    options = arguments.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        result = rows(Path(temporary).resolve(), options.images)
    print(table(result))
    write_json(options.json, TITLE, result)


if __name__ == "__main__":
    main()
