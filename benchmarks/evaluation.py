"""Evaluation end to end beside its forward passes, metrics beside scikit-image's, self-ensemble beside one pass.

    python -m benchmarks.evaluation [--images DIR] [--json FILE] [--runs N]

`evaluation` is what `scn evaluate --images DIR --method MODEL` does, with SCN of 16 blocks and 32 units, x2, random
weights: files opened, hashed, decoded and degraded, the network, both protocols, PSNR and SSIM of each. Its peer is the
sum of the same network's forward passes alone. DIR is a folder of photographs, such as the corpus Set14; without it,
14 generated ones of its sizes serve. `metrics` compares an image of 512x512 with scikit-image's functions, asked for
the same figure; the largest difference stands beside it. `self-ensemble` is beside one pass, of 96x96 and 256x256.
`memory` is the most that evaluation needs for 4 and for 32 images of 512x512, each in a process of its own.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks.measure import Row, medians, on_this_machine, parser, table, write_json
from benchmarks.memory import peak_mib, peak_of_command
from benchmarks.photographs import photograph
from scn.config.params import Params, load_params
from scn.evaluation import metrics
from scn.evaluation.compare import Measurement, compare
from scn.evaluation.images import degrade
from scn.evaluation.photographs import open_photographs
from scn.inference.apply import apply, device_of
from scn.inference.ensemble import self_ensemble
from scn.inference.handle import Model
from scn.inference.model_files import save_model
from scn.networks.build import build

TITLE = "Evaluation beside its forward passes"
SIZES = [(480, 500), (576, 720), (512, 512), (288, 352), (576, 768), (361, 276), (362, 500), (512, 512), (512, 512)]
SIZES += [(512, 512), (512, 768), (512, 512), (656, 529), (391, 586)]
"""Height and width of Set14's images."""
NAME = "sr-x2"
PAPER = {"name": "scn", "blocks": 16, "units": 32, "width": 4, "scales": 4, "ratio": 0.5, "channels": 3, "scale": 2}


def write_images(folder: Path, sizes: Sequence[tuple[int, int]]) -> None:
    """Writes a generated photograph of each size (height, width) into a new folder, as PNG."""
    folder.mkdir(parents=True)
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(photograph(number, height, width)).save(folder / f"{number:02}.png")


def project(root: Path, **network: object) -> tuple[Params, Model]:
    """Writes a project with one experiment and a model with random weights into `root`; returns both."""
    (root / "params.yaml").write_text(
        "corpora: {local: {images: images}}\ndata: {train: [images], evaluation: [images]}\n"
        f"experiments: {{{NAME}: {{task: sr, level: 2}}}}\n"
    )
    architecture = {**PAPER, **network}
    save_model(root / "model", build(architecture, seed=0), architecture, {"task": "sr", "level": 2})
    return load_params(root / "params.yaml"), Model(root / "model", "cpu")


def evaluate(params: Params, images: Path, model: Model) -> Measurement:
    """Measures the model on a folder, as `scn evaluate` does."""
    found = compare(params, experiments=[NAME], sets=[str(images)], methods=["model"], load=lambda _: model)
    (measurement,) = found
    return measurement


def evaluation_rows(params: Params, images: Path, model: Model, runs: int) -> Iterator[Row]:
    """Yields the row of evaluation beside the sum of its forward passes."""
    experiment = params.experiment(NAME)
    photographs = open_photographs(params, experiment, str(images))
    inputs = [degrade(sample, experiment)[0] for sample in photographs.read(range(len(photographs)), "rgb")]
    batches = [np.repeat(x[..., None], 3, axis=-1) if x.ndim == 2 else x for x in inputs]
    device = device_of(model.network)
    times = medians(
        {
            "passes": lambda: [apply(model.network, batch[None], device) for batch in batches],
            "evaluation": lambda: evaluate(params, images, model),
        },
        runs,
    )
    yield {
        "part": f"evaluation of {len(batches)} images",
        "median_s": times["evaluation"].median,
        "peer": "its forward passes",
        "peer_s": times["passes"].median,
        "ratio": times["evaluation"].over(times["passes"]),
        "aim": "<= 1.1",
        "largest_difference": None,
    }


def metric_rows(runs: int) -> Iterator[Row]:
    """Yields a row for each metric beside scikit-image's, with the largest difference of their results."""
    a = photograph(1, 512, 512)[..., 1]
    noise = np.random.default_rng(0).normal(0, 20, a.shape)
    b = np.clip(a + noise, 0, 255).astype(np.uint8)

    def inside() -> float:
        _, everywhere = structural_similarity(
            a, b, gaussian_weights=True, use_sample_covariance=False, data_range=255, full=True
        )
        return float(everywhere[5:-5, 5:-5].mean())

    pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "psnr": (lambda: metrics.psnr(a, b), lambda: float(peak_signal_noise_ratio(a, b, data_range=255))),
        "ssim": (lambda: metrics.ssim(a, b), inside),
    }
    for name, (ours, theirs) in pairs.items():
        times = medians({"ours": ours, "theirs": theirs}, 5 * runs)
        yield {
            "part": f"metric {name}, 512x512",
            "median_s": times["ours"].median,
            "peer": "scikit-image",
            "peer_s": times["theirs"].median,
            "ratio": times["ours"].over(times["theirs"]),
            "aim": "<= 1",
            "largest_difference": abs(ours() - theirs()),
        }


def ensemble_rows(model: Model, runs: int) -> Iterator[Row]:
    """Yields rows of self-ensemble beside one pass, for a small image and a larger one."""
    for side in (96, 256):
        x = torch.rand(1, 3, side, side)
        with torch.inference_mode():
            times = medians({"one": partial(model.network, x), "eight": partial(self_ensemble, model.network, x)}, runs)
        yield {
            "part": f"self-ensemble, {side}x{side}",
            "median_s": times["eight"].median,
            "peer": "one pass",
            "peer_s": times["one"].median,
            "ratio": times["eight"].over(times["one"]),
            "aim": "<= 8",
            "largest_difference": None,
        }


def memory_rows() -> Iterator[Row]:
    """Yields the row of the memory for 32 images beside that for 4."""
    few, many = (peak_of_command("benchmarks.evaluation", "--peak", str(count)) for count in (4, 32))
    yield {
        "part": "memory for 32 images, MiB",
        "median_s": many,
        "peer": "for 4 images, MiB",
        "peer_s": few,
        "ratio": many / few,
        "aim": "about 1",
        "largest_difference": None,
    }


def peak(count: int) -> float:
    """Returns the most memory in MiB that the evaluation of `count` images of 512x512 needs, by a small network."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root / "images", [(512, 512)] * count)
        params, model = project(root, blocks=2, units=8)
        return peak_mib(lambda: evaluate(params, root / "images", model), torch.device("cpu"))


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(TITLE, runs=3)
    arguments.add_argument("--images", type=Path, metavar="DIR", help="a folder of photographs, such as Set14")
    arguments.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args(argv)
    if options.peak:
        print(peak(options.peak))
        return
    on_this_machine()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = options.images.absolute() if options.images else root / "images"
        if not options.images:
            write_images(images, SIZES)
        params, model = project(root)
        rows = [*evaluation_rows(params, images, model, options.runs), *metric_rows(options.runs)]
        rows += [*ensemble_rows(model, options.runs), *memory_rows()]
    print(table(rows))
    write_json(options.json, TITLE, rows)


if __name__ == "__main__":
    main()
