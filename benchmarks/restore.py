"""What restoring a photograph costs: seconds per megapixel and memory, beside tiles as others make them.

    python -m benchmarks.restore [--model NAME] [--side PIXELS] [--files N] [--json FILE] [--runs N]

One photograph of SIDE x SIDE grey pixels is restored as a whole; in tiles that know their place, in float32 and
bfloat16; as a whole by the network as its authors run it (benchmarks.published); in tiles of that size with 10 pixels
of surroundings that are images of their own, as BasicSR's and Real-ESRGAN's inference scripts make them
(tile_process, tile_pad=10); and, where the extra `onnx` is installed, by onnxruntime, in such tiles. Peak memory is
that of a process of its own. Then `scn restore` starts, with one small image, and restores N small files, beside what
the network alone takes for them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from benchmarks.measure import Row, medians, parser, table, write_json
from benchmarks.memory import peak_mib, peak_of_command
from benchmarks.photographs import photograph
from benchmarks.published import Published
from scn import zoo
from scn.imaging.degradation import to_uint8
from scn.imaging.image_io import Photograph
from scn.inference.apply import apply, device_of
from scn.inference.handle import Model
from scn.inference.model_files import load_model
from scn.inference.restore import Options

TITLE = "Restoring photographs"
TILE, PADDING = 512, 10
DEVICE = "cpu"
"""All ways compute there, on a machine with a GPU too."""
SMALL = 96
"""Side of the small files."""

Grey = NDArray[np.uint8]


def ways(model: Model, pixels: Grey) -> dict[str, Callable[[], Grey]]:
    """The ways to restore pixels, (H, W), by name; "whole" is the first."""
    found: dict[str, Callable[[], Grey]] = {
        "whole, float32": partial(_restored, model, pixels, Options(tile=2**20, precision="float32")),
        "tiles, float32": partial(_restored, model, pixels, Options(tile=TILE, precision="float32")),
        "tiles, bfloat16": partial(_restored, model, pixels, Options(tile=TILE, precision="bfloat16")),
        "whole, as published": partial(_published, as_published(model.folder), pixels),
        "tiles as BasicSR's": partial(in_padded_tiles, partial(_network, model), pixels),
    }
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        found["onnxruntime, such tiles"] = partial(in_padded_tiles, _onnx(model), pixels)
    return found


def in_padded_tiles(function: Callable[[NDArray[np.float32]], NDArray[np.float32]], pixels: Grey) -> Grey:
    """Tiles of TILE pixels that are restored with PADDING pixels more on each side, which are cut off.

    Args:
        function: (h, w) to (h, w).
    """
    result = np.empty_like(pixels)
    height, width = pixels.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            above, before = max(top - PADDING, 0), max(left - PADDING, 0)
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            part = pixels[above : bottom + PADDING, before : right + PADDING] / np.float32(255)
            restored = function(part.astype(np.float32))[top - above :, left - before :]
            result[top:bottom, left:right] = to_uint8(restored[: bottom - top, : right - left])
    return result


def _restored(model: Model, pixels: Grey, options: Options) -> Grey:
    image = Photograph(pixels=pixels[..., None], alpha=None, icc_profile=None)
    return np.asarray(model.restore_photograph(image, options=options).pixels[..., 0], np.uint8)


def as_published(folder: Path) -> Published:
    """A model folder's network as its authors run it: in NCHW, its weight normalisation live, on the CPU."""
    network, _ = load_model(folder)  # not that of a Model, which is in channels_last
    for layer in [module for module in network.modules() if isinstance(module, nn.Conv2d)]:
        weight_norm(layer)  # the folder's weights are folded
    return Published(network)  # type: ignore[arg-type]


def _published(network: Published, pixels: Grey) -> Grey:
    image = torch.from_numpy(pixels / np.float32(255)).float()[None, None]
    with torch.inference_mode():
        return to_uint8(network(image)[0, 0].numpy())


def _network(model: Model, part: NDArray[np.float32]) -> NDArray[np.float32]:
    return apply(model.network, part[None, ..., None], device_of(model.network))[0, ..., 0]


def _onnx(model: Model) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """onnxruntime with what `scn export` writes, the same weights."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        model.export("onnx", file.name)
        session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])

    def run(part: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {"image": part[None, None]})[0][0, 0])

    return run


def rows(name: str, side: int, runs: int) -> Iterator[Row]:
    """Yields a row for each way: seconds per megapixel, memory, and how far it is from the whole's result."""
    model, pixels = Model(zoo.FOLDER / name, DEVICE), photograph(0, side, side)[..., 1]
    candidates = ways(model, pixels)
    whole = candidates["whole, float32"]().astype(int)
    timings = medians(candidates, runs)
    for way, call in candidates.items():
        off = np.abs(call().astype(int) - whole)
        yield {
            "way": way,
            "s_per_mp": timings[way].median / (side**2 / 1e6),
            "over_whole": timings[way].over(timings["whole, float32"]),
            "peak_mib": peak_of_command("benchmarks.restore", "--only", way, "--model", name, "--side", str(side)),
            "most_levels_off": int(off.max()),
            "differ": float((off > 0).mean()),
        }


def commands(name: str, count: int) -> Iterator[Row]:
    """Yields how long `scn restore` takes for one small file and for `count`, beside the network and PyTorch alone."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        images = [photograph(number, SMALL, SMALL)[..., 1] for number in range(count)]
        for number, image in enumerate(images):
            Image.fromarray(image).save(photos / f"{number:04}.png")
        program = [sys.executable, "-m", "scn.cli", "restore"]
        model = ["--model", str(zoo.FOLDER / name), "--device", DEVICE, "--threads", "1"]
        importing = _seconds([sys.executable, "-c", "import torch"])
        one = _seconds([*program, str(photos / "0000.png"), str(Path(folder) / "one.png"), *model])
        all_of_them = _seconds([*program, str(photos), str(Path(folder) / "out"), *model])
    network = Model(zoo.FOLDER / name, DEVICE)
    torch.set_num_threads(1)
    _restored(network, images[0], Options())
    start = perf_counter()
    for image in images:
        _restored(network, image, Options())
    alone = perf_counter() - start
    yield {"what": "import torch", "seconds": importing}
    yield {"what": "one small file", "seconds": one}
    yield {"what": f"{count} small files", "seconds": all_of_them}
    yield {"what": f"the network alone on {count}", "seconds": alone}
    yield {"what": "its share of what is not start-up", "seconds": alone / (all_of_them - one + alone / count)}


def _seconds(command: list[str]) -> float:
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables, and writes them to the file that --json names."""
    arguments = parser(TITLE, runs=3)
    arguments.add_argument("--model", default="dn-s25", help="a model that ships, for grey images at scale 1")
    arguments.add_argument("--side", type=int, default=1200, metavar="PIXELS", help="(default: %(default)s)")
    arguments.add_argument("--files", type=int, default=200, metavar="N", help="small files (default: %(default)s)")
    arguments.add_argument("--only", metavar="WAY", help="print the peak memory of one way, in MiB")
    options = arguments.parse_args(argv)
    if options.only:
        model, pixels = Model(zoo.FOLDER / options.model, DEVICE), photograph(0, options.side, options.side)[..., 1]
        print(peak_mib(ways(model, pixels)[options.only], torch.device(DEVICE)))
        return
    found = list(rows(options.model, options.side, options.runs))
    print(table(found))
    started = list(commands(options.model, options.files))
    print(table(started))
    write_json(options.json, TITLE, [*found, *started])


if __name__ == "__main__":
    main()
