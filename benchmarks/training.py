"""Training beside the published way: throughput, workers, convergence.

    python -m benchmarks.training [--device cuda] [--json FILE] [--plot FILE.svg] [--runs N] [--only PART]

The published way is eager, in float32 and NCHW, with weight normalisation live (benchmarks.published), fed by a dataset
that opens two PNG files for every sample (benchmarks.feeding). Ours is the project's learner and feed. `throughput`
takes whole steps of SCN 16x32 x2 on images of 2040x1356, several in a row, data included; `workers` runs the whole
loop, after its start, in this process and under Ray Train; `convergence` trains the demo's network both ways for the
same time.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
import yaml
from torch.utils.data import DataLoader, RandomSampler

from benchmarks.feeding import WORKERS, PngPairs, write_degraded
from benchmarks.measure import Row, Timing, medians, on_this_machine, parser, table, write_json
from benchmarks.model import MATRIX, finished
from benchmarks.photographs import HEIGHT, WIDTH, write_photographs
from benchmarks.published import Published
from data_prep.prepare import make_manifests
from scn.config.params import load_params
from scn.config.run import RunConfig
from scn.config.train import LossConfig
from scn.core.cpus import cpu_count
from scn.data import Batch, Feed, open_feed
from scn.inference.precision import Precision, has_bfloat16
from scn.launch.ray_train import train_with_ray
from scn.networks.build import build
from scn.networks.profile import count_macs
from scn.storage import open_store
from scn.training.callbacks import Silent
from scn.training.learner import Learner
from scn.training.loop import Row as Point
from scn.training.loop import Run, train
from scn.training.validation import Validation
from scn.training.world import World

TITLE = "Training beside the published way"
Part = Literal["throughput", "workers", "convergence"]
NAME, RATE, L1 = "sr-x2", 1e-3, LossConfig(l1=1)
LARGE: dict[str, Any] = {"blocks": 16, "units": 32, "width": 4, "scales": 4}
DEMO: dict[str, Any] = {"blocks": 4, "units": 24, "width": 4, "scales": 3}
SIZE, SMALL = (24, HEIGHT, WIDTH), (12, 480, 640)
"""Number of training images, their height and width in pixels."""
TOGETHER = {"cpu": 8, "cuda": 64}
"""Steps of a run of the throughput, by the type of the device."""
STEPS, WARM_UP = 60, 20
"""Steps of the loop that are timed, and steps before them."""
SECONDS, EVERY = 240.0, 50
"""Seconds of training in the race, without its validations, and steps between two validations."""


@contextmanager
def project(size: tuple[int, int, int], model: dict[str, Any], **train: Any) -> Iterator[Run]:
    """Context manager that gives a run in a new folder, with generated images, their degraded PNG files, and shards.

    Args:
        size: number of training images, their height and width in pixels.
        model: parameters of SCN.
        train: keys of the sections `train` and `run`.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        write_photographs(root / "photographs", *size)
        write_degraded(root)
        write_photographs(root / "test", 1, 192, 288, first=size[0])
        document = {
            "corpora": {"local": {"photographs": "photographs", "test": "test"}},
            "data": {"train": ["photographs"], "evaluation": ["test"]},
            "model": model,
            "train": {
                "batch_size": 16,
                "patch_size": 48,
                "hold_epochs": 1,
                **{k: v for k, v in train.items() if k not in RunConfig.model_fields},
            },
            "run": {k: v for k, v in train.items() if k in RunConfig.model_fields},
            "experiments": {NAME: {"task": "sr", "level": 2}},
        }
        (root / "params.yaml").write_text(yaml.safe_dump(document))
        params = load_params(root / "params.yaml")
        manifests, _ = make_manifests(params, NAME, store_url="file://store", workers=0)
        store = open_store("file://store", root)
        yield Run(
            experiment=params.experiment(NAME),
            manifest=manifests.train,
            evaluation=manifests.evaluation,
            store=store,
            root=root,
        )


def _feed(run: Run, device: torch.device) -> closing[Feed]:
    return closing(open_feed(run.store, run.manifest, run.experiment, device, cache=None))


class PublishedLearner:
    """Trains as the published code does, on patches from PNG files.

    Args:
        together: steps that follow each other at once: no data are made ahead of them, while something else is timed.
    """

    def __init__(self, run: Run, device: torch.device, together: int = 10**6) -> None:
        self.device, self.batch = device, run.experiment.train.batch_size
        self.result = build(run.experiment.architecture(), seed=0).to(device)
        self.model = Published(self.result)  # type: ignore[arg-type]
        self.optimizer = torch.optim.Adam(self.result.parameters(), lr=RATE)
        data = PngPairs(run.root / "photographs", run.root / "degraded")
        sampler = RandomSampler(data, replacement=True, num_samples=together * self.batch)
        loader = DataLoader(data, self.batch, sampler=sampler, num_workers=WORKERS, persistent_workers=WORKERS > 0)
        self.batches = chain.from_iterable(repeat(loader))

    def step(self) -> float:
        """Takes one step; returns its loss."""
        degraded, target = (images.to(self.device) for images in next(self.batches))
        self.optimizer.zero_grad()
        loss = F.l1_loss(self.model(degraded), target)
        loss.backward()
        self.optimizer.step()
        return loss.item()


@dataclass
class OurLearner:
    """Trains with the project's learner and feed."""

    learner: Learner
    batch: Callable[[int], Batch]
    """Gives the batch of a step (from 0)."""
    done: int = 0
    """Number of steps taken."""

    def step(self) -> float:
        """Takes one step; returns its loss."""
        self.done += 1
        return self.learner.step(self.batch(self.done - 1), L1, RATE).loss


def throughput(device: torch.device, runs: int) -> list[Row]:
    """Times whole steps beside matrix products; returns a row for each form of training."""
    precisions: list[Precision] = ["float32", "bfloat16"] if has_bfloat16(device) else ["float32"]
    side, rows = MATRIX[device.type], list[Row]()
    with (
        project(SIZE, LARGE) as run,
        _feed(run, device) as feed,
    ):
        config = run.experiment.train
        forms: dict[str, Precision] = {"published": "float32"}
        together = TOGETHER[device.type]
        steps: dict[str, Callable[[], object]] = {"published": PublishedLearner(run, device, together).step}
        timed: dict[str, Callable[[], object]] = {}
        for precision in precisions:
            forms_here = {"": {"cuda_graphs": False}}
            if device.type == "cuda":
                forms_here |= {", CUDA graphs": {"cuda_graphs": True}, ", compiled": {"compile": True}}
            for form, settings in forms_here.items():
                name = f"ours, {precision}{form}"
                changed = config.model_copy(update={"precision": precision})
                how = run.experiment.run.model_copy(update=settings)
                experiment = run.experiment.model_copy(update={"train": changed, "run": how})
                forms[name] = precision
                learner = Learner(experiment, World(device=device), compiled=experiment.run.compile is True)
                steps[name] = OurLearner(learner, feed.batch).step
            matrix = torch.rand(side, side, device=device, dtype=getattr(torch, precision))
            timed[f"matrices, {precision}"] = lambda matrix=matrix: matrix @ matrix  # type: ignore[misc]
        timed |= {name: partial(_repeat, step, together) for name, step in steps.items()}
        times = medians({name: finished(call, device) for name, call in timed.items()}, runs, warm_up=2)
        times |= {name: Timing(seconds=tuple(s / together for s in times[name].seconds)) for name in steps}
        macs = 3 * config.batch_size * count_macs(run.experiment.architecture(), config.patch_size, config.patch_size)
        for name, precision in forms.items():
            limit = times[f"matrices, {precision}"].over(times[name])
            rows.append(
                {
                    "training": name,
                    "step_ms": 1e3 * times[name].median,
                    "spread_%": 100 * times[name].spread,
                    "patches_per_s": config.batch_size / times[name].median,
                    "times_as_fast": times["published"].over(times[name]),
                    "matrix_rate_%": 100 * macs / side**3 * limit,
                }
            )
    return rows


def _repeat(step: Callable[[], object], count: int) -> None:
    for _ in range(count):
        step()


class _Clock(Silent):
    """A monitor that only notes the time of every point of the curves."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []

    def on_log(self, row: Point) -> None:
        self.points.append((row["step"], time.perf_counter()))

    def steps_per_second(self) -> float:
        """Steps per second after the first point, so without the start of the run."""
        (first, start), (last, end) = self.points[0], self.points[-1]
        return (last - first) / (end - start)


def workers(device: torch.device, runs: int) -> list[Row]:
    """Times the whole loop in this process, and under Ray Train with one and with two workers; a row for each.

    Without Ray, or a GPU for each worker, there are fewer.
    """
    most = 2 if device.type == "cpu" else min(2, torch.cuda.device_count())
    settings = {"plain": 0}
    if find_spec("ray"):
        names = {1: "Ray Train, 1 worker", 2: "Ray Train, 2 workers"}
        settings |= {name: count for count, name in names.items() if count <= most}
    seen: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(runs):
        for name, count in settings.items():
            steps = {"max_steps": STEPS + WARM_UP, "log_every": WARM_UP, "workers": max(count, 1)}
            steps |= {"use_gpu": device.type == "cuda"}
            with project(SMALL, {**DEMO, "blocks": 8}, **steps) as run:
                clock = _Clock()
                if count:
                    train_with_ray(run, load_params(run.root / "params.yaml"), clock)
                else:
                    train(run, World(device=device, threads=cpu_count()), clock, lambda: "")
                seen[name].append(clock.steps_per_second())
    peers = {"plain": "plain", "Ray Train, 1 worker": "plain", "Ray Train, 2 workers": "Ray Train, 1 worker"}
    return [
        {
            "loop": name,
            "steps_per_s": median(rates),
            "peer": peers[name],
            "times_as_fast": median(a / b for a, b in zip(rates, seen[peers[name]], strict=True)),
        }
        for name, rates in seen.items()
    ]


def convergence(device: torch.device, plot: Path | None) -> list[Row]:
    """Races our training against the published way; a row for each, with the PSNR of one image over training time.

    Args:
        plot: SVG file for the curves; None: no plot.
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    with project(SMALL, DEMO, batch_size=8) as run:
        evaluation = run.evaluation
        assert evaluation is not None
        validation = Validation(run.experiment, evaluation, run.store, device)
        published = PublishedLearner(run, device)
        lines["published"] = _race(published.step, published.result, validation)
        del published
        with _feed(run, device) as feed:
            ours = OurLearner(Learner(run.experiment, World(device=device)), feed.batch)
            lines["ours"] = _race(ours.step, ours.learner.result, validation)
    if plot:
        from scn.studies.plot import Mark, Plot, Series, write_plot  # and with it Jinja, which a plot alone needs

        series = [
            Series(name=name, marks=[Mark(x=x, y=y) for x, y in line], joined=True) for name, line in lines.items()
        ]
        title = "sr-x2, 4 blocks of 24 units"
        write_plot(plot, Plot(title=title, x="training time [s]", y="PSNR [dB]", series=series))
    goal = lines["published"][-1][1]
    return [
        {
            "race": name,
            "steps": EVERY * (len(line) - 1),
            "db_at_start": line[0][1],
            "db_at_half": next(db for seconds, db in line if seconds >= SECONDS / 2),
            "db_at_end": line[-1][1],
            "seconds_to_published": next((seconds for seconds, db in line if db >= goal), None),
        }
        for name, line in lines.items()
    ]


def _race(step: Callable[[], float], network: torch.nn.Module, validation: Validation) -> list[tuple[float, float]]:
    """Trains for SECONDS; returns (seconds of training, PSNR in dB) of every validation."""
    seconds, line = 0.0, [(0.0, validation(network).score)]
    step()  # the first step sets things up
    while seconds < SECONDS:
        start = time.perf_counter()
        for _ in range(EVERY):
            step()
        seconds += time.perf_counter() - start
        line.append((seconds, validation(network).score))
    return line


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table for each part, and writes them to the file that --json names."""
    arguments = parser(__doc__, runs=5)
    arguments.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu (the default) or cuda")
    arguments.add_argument("--only", choices=get_args(Part), help="measure one part only")
    arguments.add_argument("--plot", type=Path, metavar="FILE", help="write the curves of the race to this SVG file")
    options = arguments.parse_args(argv)
    on_this_machine()
    parts: dict[Part, Callable[[], list[Row]]] = {
        "throughput": lambda: throughput(options.device, options.runs),
        "workers": lambda: workers(options.device, min(options.runs, 3)),
        "convergence": lambda: convergence(options.device, options.plot),
    }
    rows: list[Row] = []
    for part, measured in parts.items():
        if options.only in (None, part):
            found = measured()
            print(f"{table(found)}\n", flush=True)
            rows += ({"part": part, **row} for row in found)
            write_json(options.json, TITLE, rows)  # after each part: the next one may fail, or be ended


if __name__ == "__main__":
    main()
