"""The cost of making shards beside that of decoding and encoding the images, which can't be left out.

    python -m benchmarks.shards [--json FILE] [--runs N]

Images are generated PNG files of 2040x1356 pixels, cut into sub-images of 480 with stride 240, for super-resolution x2.
`--growth 50 200 800` instead measures how time and memory grow with the number of images (benchmarks.growth).
"""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import growth, measure, transfer
from benchmarks.measure import Row, Timing
from benchmarks.photographs import HEIGHT, WIDTH, write_photographs
from data_prep import prepare
from data_prep.shards import ShardJob, ShardSpec, make_shard
from scn.config.params import Experiment, Params, load_params
from scn.core.parallel import carry_out
from scn.core.ray import start_ray, stop_ray
from scn.corpora.corpora import open_images
from scn.imaging.degradation import bicubic_downscale
from scn.shards.samples import Encoding, encode
from scn.storage import open_store

SECTIONS = ("encodings", "one core", "workers", "transfer")
TITLE = "Shards from PNG images"
PARAMS = """\
corpora: {local: {photographs: photographs, one: one}}
data: {train: [photographs], evaluation: [one]}
experiments: {sr-x2: {task: sr, level: 2}}
"""
ENCODINGS: tuple[tuple[Encoding, int], ...] = (("npy", 0), ("png", 1), ("png", 3), ("png", 6))
"""Encodings of the images, each with the compression level of zlib for png."""


def write_project(root: Path, images: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Params:
    """Writes a params.yaml, `images` training images of `size` (H, W) and one for evaluation into `root`."""
    write_photographs(root / "photographs", images, *size)
    (root / "one").mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(root / "one" / "one.png")
    (root / "params.yaml").write_text(PARAMS)
    return load_params(root / "params.yaml")


def sized(folder: Path, size: tuple[int, int]) -> Path:
    """The folder in `folder` of a project with images of `size` (H, W): kept ones of another size are not taken."""
    return folder / f"{size[0]}x{size[1]}"


def encodings(params: Params, runs: int) -> list[Row]:
    """Times making and reading the members of an image's sub-images; a row for each encoding, with their size."""
    path = next((params.root / "photographs").glob("*.png"))
    image = np.asarray(Image.open(path))
    cut = _sub_images(image, _spec(params.experiment("sr-x2")))
    rows: list[Row] = []
    for encoding, compression in ENCODINGS:
        made = [encode(arrays, encoding, compression) for arrays in cut]
        taken = measure.medians(
            {"make": partial(_encode_all, cut, encoding, compression), "read": partial(_decode_all, made)},
            runs,
            warm_up=0,
        )
        size = sum(len(content) for members in made for content in members.values())
        rows.append(
            {
                "encoding": encoding + (f", level {compression}" if encoding == "png" else ""),
                "make_ms": taken["make"].median * 1e3,
                "read_ms": taken["read"].median * 1e3,
                "mb": size / 1e6,
            }
        )
    return rows


def one_core(params: Params, runs: int) -> list[Row]:
    """Times making shards in one process beside only decoding images and encoding sub-images; a row for each peer."""
    rows: list[Row] = []
    experiment = params.experiment("sr-x2")
    for encoding, compression in ENCODINGS[:2]:
        data = experiment.data.model_copy(update={"encoding": encoding, "png_level": compression})
        jobs = _jobs(params, experiment.model_copy(update={"data": data}))
        images = sum(len(job.sources) for job in jobs)
        with _empty_store(params) as clear:
            taken = measure.medians(
                {
                    "alone": partial(_decode_and_encode, jobs),
                    "and stored as files": partial(_decode_and_encode, jobs, params.root / "files"),
                    "shards": partial(_anew, clear, partial(_make, jobs, 0)),
                },
                runs,
            )
        for name in ("alone", "and stored as files"):
            rows.append(
                {
                    "encoding": encoding,
                    "peer": f"decode, encode{' alone' if name == 'alone' else ', write files'}",
                    "peer_ms": taken[name].median * 1e3 / images,
                    "shards_ms": taken["shards"].median * 1e3 / images,
                    "peer/shards": 1 / taken["shards"].over(taken[name]),
                }
            )
    return rows


def workers(params: Params, runs: int) -> list[Row]:
    """Times whole runs with one and two Ray workers, and with Ray Data in place of Ray tasks; a row for each."""
    experiment = params.experiment("sr-x2")
    jobs: dict[Encoding, list[ShardJob]] = {}
    for encoding, compression in ENCODINGS[:2]:
        data = experiment.data.model_copy(update={"encoding": encoding, "png_level": compression})
        jobs[encoding] = _jobs(params, experiment.model_copy(update={"data": data}))
    jobs["png"] = jobs["png"][: -(-len(jobs["png"]) // 2)]  # which is slow: half of the jobs are enough
    taken: dict[Encoding, dict[str, Timing]] = {encoding: {} for encoding in jobs}
    with _empty_store(params) as clear:
        for count in (1, 2):
            stop_ray()
            start_ray(count)
            for encoding, these in jobs.items():
                _make(these[:count], count)  # starts the workers
                candidates = {f"Ray tasks, {count} workers": partial(_anew, clear, partial(_make, these, count))}
                if count == 2:
                    candidates["Ray Data, 2 workers"] = partial(_anew, clear, partial(_with_ray_data, these))
                taken[encoding] |= measure.medians(candidates, runs, warm_up=0)
    stop_ray()
    rows: list[Row] = []
    for encoding, timings in taken.items():
        images = sum(len(job.sources) for job in jobs[encoding])
        one = timings["Ray tasks, 1 workers"].median
        for name, timing in timings.items():
            speed = {"images/s": images / timing.median, "times_one": one / timing.median}
            rows.append({"encoding": encoding, "how": name, **speed})
    return rows


def _with_ray_data(jobs: list[ShardJob]) -> list[Any]:
    """Makes the shards with Ray Data: a dataset of jobs, one block each, is mapped."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items([{"job": job} for job in jobs], override_num_blocks=len(jobs))
    return dataset.map(lambda row: {"made": make_shard(row["job"])[0].model_dump_json()}).take_all()


def _spec(experiment: Experiment) -> ShardSpec:
    return ShardSpec(task_name=experiment.task_name, levels=(2,), training=True, data=experiment.data)


def _jobs(params: Params, experiment: Experiment) -> list[ShardJob]:
    store = open_store("file://store", params.root)
    return list(prepare.plan(experiment, [open_images(params, "photographs")], store, training=True).jobs)


def _sub_images(image: Any, spec: ShardSpec) -> list[dict[str, Any]]:
    lr = bicubic_downscale(image, 2)
    return [
        {"hr": image[top:bottom, left:right], "lr2": lr[top // 2 : bottom // 2, left // 2 : right // 2]}
        for top, bottom, left, right in spec.places(*image.shape[:2])
    ]


def _encode_all(cut: list[dict[str, Any]], encoding: Encoding, compression: int) -> None:
    for arrays in cut:
        encode(arrays, encoding, compression)


def _decode_all(made: list[dict[str, bytes]]) -> None:
    for members in made:
        for suffix, content in members.items():
            file = io.BytesIO(content)
            np.load(file) if suffix.endswith("npy") else np.asarray(Image.open(file))


def _decode_and_encode(jobs: list[ShardJob], folder: Path | None = None) -> None:
    """Decodes the PNG files and encodes the members of all samples, with a stand-in for the degraded images."""
    for job in jobs:
        data = job.spec.data
        for source in job.sources:
            image = np.array(Image.open(io.BytesIO(source.path.read_bytes())))
            for number, (top, bottom, left, right) in enumerate(job.spec.places(*image.shape[:2])):
                hr = image[top:bottom, left:right]
                members = encode({"hr": hr, "lr2": hr[::2, ::2]}, data.encoding, data.png_level)
                for suffix, content in members.items() if folder else ():
                    path = folder / source.name / f"{number}.{suffix}"  # type: ignore[operator]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)


@contextmanager
def _empty_store(params: Params) -> Iterator[Callable[[], None]]:
    folder = params.root / "store"

    def clear() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    yield clear
    clear()


def _make(jobs: Sequence[ShardJob], count: int) -> None:
    list(carry_out(make_shard, jobs, count, unit="shard"))


def _anew(clear: Callable[[], None], make: Callable[[], object]) -> None:
    clear()
    make()


def run(root: Path, images: int, runs: int, size: tuple[int, int], mib: int, only: Sequence[str] = ()) -> list[Row]:
    """Runs the sections and prints their tables; returns all rows.

    Args:
        images: number of training images; "workers" takes four times as many, for whole rounds of shards.
        runs: number of rounds.
        size: (H, W) of the images.
        mib: size of the transferred object in MiB.
        only: the sections to run; empty: all.
    """
    params = write_project(root, images, size)
    sections: dict[str, Callable[[], list[Row]]] = {
        "encodings": lambda: encodings(params, min(runs, 3)),
        "one core": lambda: one_core(params, runs),
        "workers": lambda: workers(write_project(root, 4 * images, size), runs),
        "transfer": lambda: transfer.transfer_rows(mib, runs),
    }
    rows: list[Row] = []
    for title in only or sections:
        part = sections[title]()
        print(f"\n{title}\n\n{measure.table(part)}")
        rows += [{"section": title, **row} for row in part]
    return rows


def main() -> None:
    parser = measure.parser(__doc__, runs=5)
    parser.add_argument("--images", type=int, default=16, help="number of images (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(HEIGHT, WIDTH), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--mib", type=int, default=128, help="MiB of the transferred object (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=(), choices=SECTIONS, help="measure these sections only")
    parser.add_argument("--growth", type=int, nargs="+", metavar="IMAGES", help="measure growth instead")
    parser.add_argument("--folder", type=Path, help="keep the images here for another run")
    arguments = parser.parse_args()
    measure.on_this_machine()
    with tempfile.TemporaryDirectory() as temporary:
        root = sized(arguments.folder or Path(temporary), arguments.size)
        if arguments.growth:
            write_project(root, max(arguments.growth), arguments.size)
            rows = growth.rows(root, arguments.growth)
            print(measure.table(rows))
        else:
            rows = run(root, arguments.images, arguments.runs, arguments.size, arguments.mib, arguments.only)
    measure.write_json(arguments.json, TITLE, rows)


if __name__ == "__main__":
    main()
