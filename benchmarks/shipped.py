"""What the models that ship cost: seconds per megapixel of the result, memory and size, beside BM3D and bicubic.

    python -m benchmarks.shipped [--side PIXELS] [--threads N] [--json FILE] [--runs N]

A grey photograph of SIDE x SIDE pixels is the result of every way, so models for super-resolution get one that is
smaller by their scale. Models compute in float32, and in bfloat16 where the processor is fast in it, as `scn restore`
does. BM3D (PyPI: bm3d, sigma 25, both stages) takes part where it is installed. Peak memory is that of a process of
its own.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import Row, Timing, medians, parser, table, write_json
from benchmarks.memory import peak_mib, peak_of_command
from benchmarks.photographs import photograph
from scn import zoo
from scn.imaging.image_io import Photograph
from scn.imaging.resize import resized
from scn.inference.handle import Model
from scn.inference.precision import Precision, computed
from scn.inference.restore import Options

TITLE = "The models that ship"
BICUBIC, BM3D = "bicubic x2", "BM3D, sigma 25"
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def ways(names: Sequence[str], side: int) -> dict[str, Callable[[], object]]:
    """Name of the model and precision, or of a peer -> the function that makes a result of side x side pixels."""
    fast = computed(torch.device("cpu"), "bfloat16") == "bfloat16"
    found: dict[str, Callable[[], object]] = {}
    for name in names:
        model = Model(zoo.FOLDER / name, "cpu")
        image = _grey(side // model.scale)
        for precision in PRECISIONS[: 2 if fast else 1]:
            options = Options(precision=precision)
            found[f"{name}, {precision}"] = partial(model.restore_photograph, image, options=options)
    small = _grey(side // 2).pixels
    found[BICUBIC] = lambda: resized(small, Fraction(2))
    if find_spec("bm3d"):
        import bm3d

        noisy = _grey(side).pixels[..., 0] + np.random.default_rng(0).normal(0, 25, (side, side))
        found[BM3D] = partial(bm3d.bm3d, noisy, 25)
    return found


def _grey(side: int) -> Photograph:
    pixels: NDArray[np.uint8] = photograph(0, side, side)[..., 1:2]
    return Photograph(pixels=np.ascontiguousarray(pixels), alpha=None, icc_profile=None)


def rows(names: Sequence[str], side: int, runs: int, arguments: Sequence[str] = ()) -> list[Row]:
    """A row for each way.

    Args:
        arguments: of the command that measures the memory of one way.
    """
    timings = medians(ways(names, side), runs)
    return [_row(way, timing, timings, side, arguments) for way, timing in timings.items()]


def _row(way: str, timing: Timing, timings: dict[str, Timing], side: int, arguments: Sequence[str]) -> Row:
    weights = zoo.FOLDER / way.partition(",")[0] / "model.safetensors"
    return {
        "way": way,
        "s_per_mp": timing.median / (side**2 / 1e6),
        "spread": timing.spread,
        "over_bm3d": timing.over(timings[BM3D]) if BM3D in timings else None,
        "weights_mb": weights.stat().st_size / 1e6 if weights.is_file() else None,
        "peak_mib": peak_of_command("benchmarks.shipped", "--only", way, *arguments),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(TITLE, runs=3)
    arguments.add_argument("--side", type=int, default=996, metavar="PIXELS", help="of the result (%(default)s)")
    arguments.add_argument("--threads", type=int, default=2, metavar="N", help="(default: %(default)s)")
    arguments.add_argument("--only", metavar="WAY", help="print the peak memory of one way, in MiB")
    options = arguments.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.only:
        name = options.only.partition(",")[0]
        way = ways([name] if name in zoo.names() else [], options.side)[options.only]
        print(peak_mib(way, torch.device("cpu")))
        return
    passed_on = ["--side", str(options.side), "--threads", str(options.threads)]
    found = rows(zoo.names(), options.side, options.runs, passed_on)
    print(table(found))
    write_json(options.json, TITLE, found)


if __name__ == "__main__":
    main()
