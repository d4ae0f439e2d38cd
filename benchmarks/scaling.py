"""Steps of several workers beside one: what sending gradients costs, and a model of it.

    python -m benchmarks.scaling [--workers N] [--json FILE] [--runs N]

The workers are processes of this machine with one thread each, joined by Gloo over the network that it has; `ip netns
exec` and `tc qdisc ... tbf` give it a slower one. Within one group of workers all forms take turns; all workers begin
each step together, and its time is that of the slowest:

    one             one of them computes its patches, the others rest: what weak scaling is measured by
    one, all        one of them computes the patches of all: what strong scaling is measured by
    alone           each computes its patches and sends nothing: what sharing a machine costs by itself
    buckets         scn.training.reduction.Buckets, sent during the backward pass
    after           the same buckets, sent after the backward pass
    DDP             torch.nn.parallel.DistributedDataParallel, with a static graph
    lanes           scn.training.reduction.Lanes, one lane for each worker

`model` is what `step_seconds` says of the form, from `alone` and the measured latency and rate of an all-reduce. Then
one process with more and more lanes, which compute smaller parts of the same batch. The last table is what the model
says of GPUs (docs/scaling.md).
"""

import socket
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import Row, Timing, medians, parser, table, write_json
from scn.config.params import DataConfig, EvaluateConfig, Experiment
from scn.config.run import RunConfig
from scn.config.train import LossConfig, TrainConfig
from scn.data import Batch
from scn.networks import network_config
from scn.training.learner import Learner
from scn.training.reduction import BUCKET_BYTES
from scn.training.world import World

TITLE = "Steps of several workers beside one"
L1, RATE = LossConfig(l1=1), 1e-4
NETWORKS: dict[str, dict[str, Any]] = {
    "scn 4x24": {"name": "scn", "blocks": 4, "units": 24, "width": 4, "scales": 3},
    "scn 16x64": {"name": "scn", "blocks": 16, "units": 64, "width": 4, "scales": 3},
}
GPU_STEPS: dict[str, tuple[float, float, float]] = {
    "zoo, scn 6x24": (5.93e-3, 0.0917e-3, 1.05e6),
    "gpu, scn 8x32": (9.17e-3, 0.1083e-3, 2.46e6),
}
"""Network -> seconds of a step of super-resolution x2 on an H200 whatever its patches, seconds for each patch of 48x48
(both from the steps of 16 and of 64 patches in docs/results/2026-11-27-gpu.md), bytes of the gradients."""
LINKS = {8: (10e-6, 300e9), 64: (10e-6, 12.5e9)}
"""Number of GPUs -> assumed seconds of latency, bytes/s: NVLink within a node of 8; 100 Gbit/s between the nodes."""
PATCHES, SIDE = 4, 32
"""Patches of each worker in a step, and their side in pixels."""
SIZES = (2**10, 2**16, 2**20, 2**22, 2**24)
"""Bytes of the all-reduces that latency and rate are fitted to."""
LANES = (1, 2, 4, 8, 16)
"""Numbers of lanes of one process."""
BACKWARD = 2 / 3
"""Share of a step's computing that the backward pass takes, during which buckets travel."""


def all_reduce_seconds(size: float, workers: int, latency_s: float, bytes_per_s: float) -> float:
    """Returns the seconds of an all-reduce of `size` bytes by a ring, where each worker sends 2 (W - 1) / W of them."""
    return 2 * (workers - 1) * latency_s + 2 * (workers - 1) / workers * size / bytes_per_s


def step_seconds(
    computing_s: float,
    size: float,
    workers: int,
    latency_s: float,
    bytes_per_s: float,
    *,
    overlap: float = BACKWARD,
) -> float:
    """Returns the seconds of a step: computing, and what of sending the gradients outlasts the backward pass.

    Args:
        computing_s: seconds of the step without sending.
        size: bytes of the gradients.
        overlap: share of the computing during which gradients travel; 0: they are sent afterwards.
    """
    buckets = max(1, round(size / BUCKET_BYTES))
    sending = buckets * all_reduce_seconds(size / buckets, workers, latency_s, bytes_per_s)
    last = sending / buckets  # nothing is left to compute when the last bucket is full
    return computing_s + max(sending - overlap * computing_s, last)


def fitted(sizes: Sequence[int], seconds: Sequence[float], workers: int) -> tuple[float, float]:
    """Returns latency in s and rate in bytes/s that `all_reduce_seconds` fits to, least squares of relative errors."""
    columns = np.array([[2 * (workers - 1), 2 * (workers - 1) / workers * size] for size in sizes])
    measured = np.array(seconds)
    latency, inverse = np.linalg.lstsq(columns / measured[:, None], np.ones(len(measured)), rcond=None)[0]
    return max(float(latency), 0.0), 1 / max(float(inverse), 1e-15)


def _experiment(network: Mapping[str, Any], workers: int, **train: Any) -> Experiment:
    return Experiment(
        name="sr-x2",
        task_name="sr",
        level=2,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=network_config(dict(network), "model"),
        train=TrainConfig(**{"batch_size": PATCHES * workers, "patch_size": SIDE, **train}),
        run=RunConfig(workers=workers),
        evaluate=EvaluateConfig(),
    )


class _WithDDP:
    """Steps of a learner whose gradients PyTorch's own module averages."""

    def __init__(self, learner: Learner, batch: Batch) -> None:
        self.learner, self.batch = learner, batch
        self.network = DistributedDataParallel(learner.network, static_graph=True, gradient_as_bucket_view=True)

    def step(self) -> None:
        self.learner.optimizer.zero_grad()
        restored = self.network(self.batch.input.contiguous(memory_format=torch.channels_last))
        loss = torch.nn.functional.l1_loss(restored, self.batch.target)
        loss.backward()
        torch.nn.utils.get_total_norm(p.grad for p in self.learner.network.parameters() if p.grad is not None)
        told = loss.detach()
        dist.all_reduce(told)
        self.learner.optimizer.step()


def _forms(network: Mapping[str, Any], world: World) -> tuple[dict[str, Callable[[], object]], int]:
    """The steps that are timed, by name, and the bytes of the network's gradients."""
    batch, everything = _batch(PATCHES, world.rank), _batch(PATCHES * world.world_size, world.rank)
    experiment = _experiment(network, world.world_size)
    alone = Learner(_experiment(network, 1), World())
    lanes = Learner(_experiment(network, world.world_size, lanes=world.world_size), world)
    buckets, after = Learner(experiment, world), Learner(experiment, world)
    assert after.gradients.buckets is not None
    after.gradients.buckets.expect = lambda: None  # type: ignore[method-assign]
    learners = {"alone": alone, "buckets": buckets, "after": after, "lanes": lanes}
    forms: dict[str, Callable[[], object]] = {
        name: lambda learner=learner: learner.step(batch, L1, RATE)  # type: ignore[misc]
        for name, learner in learners.items()
    }
    forms["DDP"] = _WithDDP(Learner(_experiment(network, 1), World()), batch).step
    first = {"one": (alone, batch), "one, all": (Learner(_experiment(network, 1), World()), everything)}
    for name, (learner, of_one) in first.items():
        step = partial(learner.step, of_one, L1, RATE)
        forms[name] = step if world.rank == 0 else _nothing
    size = sum(4 * p.numel() for p in alone.network.parameters() if p.requires_grad)
    return forms, size


def _batch(patches: int, seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    input = torch.rand(patches, 3, SIDE, SIDE, generator=draw)
    return Batch(input=input, target=torch.rand(patches, 3, 2 * SIDE, 2 * SIDE, generator=draw))


def _nothing() -> None:
    """What the other workers do while one computes."""


def lanes_in_one(runs: int, network: str) -> list[Row]:
    """Times steps of one process, one thread, whose batch is computed in so many lanes; a row for each number."""
    batch = _batch(max(LANES), 0)
    steps: dict[str, Callable[[], object]] = {}
    for lanes in (0, *LANES):
        learner = Learner(_experiment(NETWORKS[network], 1, batch_size=max(LANES), lanes=lanes), World())
        steps[str(lanes)] = partial(learner.step, batch, L1, RATE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = medians(steps, runs, warm_up=2)
    finally:
        torch.set_num_threads(threads)
    return [
        {
            "network": network,
            "lanes": lanes,
            "patches_each": max(LANES) // int(lanes) if lanes != "0" else None,
            "step_ms": 1e3 * timing.median,
            "spread_%": 100 * timing.spread,
            "over_none": timing.over(times["0"]),
        }
        for lanes, timing in times.items()
    ]


def _rank(rank: int, world_size: int, port: int, folder: str, runs: int, networks: Mapping[str, Any]) -> None:
    torch.set_num_threads(1)
    # Of DDP: gradients of 1x1 convolutions have other strides than its buckets, and are copied, as in a training.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    buffers = {size: torch.zeros(size // 4) for size in SIZES}
    sent = medians({str(size): partial(dist.all_reduce, b) for size, b in buffers.items()}, 3 * runs, warm_up=3)
    found: dict[str, Any] = {"sent": {int(size): timing.median for size, timing in sent.items()}, "steps": {}}
    for network, parameters in networks.items():
        forms, size = _forms(parameters, World(rank=rank, world_size=world_size))
        found["steps"][network] = size, _of_the_slowest(medians(forms, runs, warm_up=2, before=dist.barrier))
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.destroy_process_group()


def _of_the_slowest(own: Mapping[str, Timing]) -> dict[str, list[float]]:
    """The seconds of the slowest worker in every round, by form, of the times of each.

    Its own would do for a form that waits for the others; after one that does not, the next would pay for their rest.
    """
    every: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(every, {name: timing.seconds for name, timing in own.items()})
    return {name: [max(of_round) for of_round in zip(*(one[name] for one in every), strict=True)] for name in own}


def measured(workers: int, runs: int, networks: Mapping[str, Mapping[str, Any]]) -> tuple[list[Row], list[Row]]:
    """Times all-reduces and steps of so many workers; returns the rows of both."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        unused.close()
        torch.multiprocessing.spawn(_rank, (workers, port, folder, runs, networks), nprocs=workers)
        found = torch.load(Path(folder) / "found.pt")
    latency, rate = fitted(list(found["sent"]), list(found["sent"].values()), workers)
    transfers: list[Row] = [
        {
            "bytes": size,
            "measured_ms": 1e3 * seconds,
            "model_ms": 1e3 * all_reduce_seconds(size, workers, latency, rate),
            "latency_us": 1e6 * latency,
            "mb_per_s": rate / 1e6,
        }
        for size, seconds in found["sent"].items()
    ]
    steps: list[Row] = []
    for network, (size, forms) in found["steps"].items():
        times = {name: Timing(seconds=tuple(seconds)) for name, seconds in forms.items()}
        for name, timing in times.items():
            if name in ("one", "one, all"):
                continue
            overlap = {"buckets": BACKWARD, "DDP": BACKWARD}.get(name, 0.0)
            model = step_seconds(times["alone"].median, size, workers, latency, rate, overlap=overlap)
            steps.append(
                {
                    "network": network,
                    "gradients_mb": size / 1e6,
                    "form": name,
                    "step_ms": 1e3 * timing.median,
                    "spread_%": 100 * timing.spread,
                    "over_alone": timing.over(times["alone"]),
                    "over_DDP": timing.over(times["DDP"]),
                    "weak_%": 100 * times["one"].over(timing),
                    "strong_%": 100 * times["one, all"].over(timing) / workers,
                    "model_ms": 1e3 * (times["alone"].median if name == "alone" else model),
                }
            )
    return transfers, steps


def predicted() -> list[Row]:
    """Returns the model's steps for several GPUs, beside one GPU that computes as many patches as each of them."""
    rows: list[Row] = []
    for network, (fixed, each, size) in GPU_STEPS.items():
        for gpus, (latency, rate) in LINKS.items():
            for patches in (16, 64, 256):
                alone = fixed + each * patches
                # The kernels of a step are recorded, so gradients travel after them.
                together = step_seconds(alone, size, gpus, latency, rate, overlap=0)
                whole = fixed + each * patches * gpus
                rows.append(
                    {
                        "network": network,
                        "gpus": gpus,
                        "patches_each": patches,
                        "alone_ms": 1e3 * alone,
                        "step_ms": 1e3 * together,
                        "weak_%": 100 * alone / together,
                        "times_as_fast_as_one": whole / together,
                        "strong_%": 100 * whole / together / gpus,
                    }
                )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the tables, and writes them to the file that --json names."""
    arguments = parser(__doc__.partition("\n")[0], runs=7)
    arguments.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    options = arguments.parse_args(argv)
    transfers, steps = measured(options.workers, options.runs, NETWORKS)
    print(f"{table(transfers)}\n\n{table(steps)}\n", flush=True)
    lanes = lanes_in_one(options.runs, next(iter(NETWORKS)))
    gpus = predicted()
    print(f"{table(lanes)}\n\n{table(gpus)}")
    if options.json:
        rows = [{"part": "all-reduce", **row} for row in transfers] + [{"part": "step", **row} for row in steps]
        rows += [{"part": "lanes", **row} for row in lanes]
        rows += [{"part": "predicted", **row} for row in gpus]
        write_json(options.json, TITLE, rows)


if __name__ == "__main__":
    main()
