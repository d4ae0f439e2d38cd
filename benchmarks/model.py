"""SCN beside its published form: inference and a training step, on a CPU or a GPU.

    python -m benchmarks.model [--device cuda] [--json FILE] [--runs N] [--only inference]

The published form (benchmarks.published) is eager, in NCHW, with weight normalisation live, and computes every scale to
the end. "weights in every call" is ours if a step made each normalised weight anew for every scale. `matrix_rate_%`
compares the network's useful multiply-adds per second, those of the scales that reach the output, with the rate at
which this device multiplies large square matrices of the same precision.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple, get_args
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import Row, medians, parser, table, write_json
from benchmarks.memory import peak_mib, peak_of_command
from benchmarks.published import Published
from scn.inference.precision import Precision, autocast, has_bfloat16
from scn.networks.base import layers
from scn.networks.build import build, fold
from scn.networks.profile import count_macs

TITLE = "SCN beside its published form"
ARCHITECTURE: dict[str, Any] = {"name": "scn", "blocks": 16, "units": 32, "width": 4, "scales": 4, "scale": 2}
SIDE = 256
"""Side in pixels of the image that is restored."""
BATCH, PATCH = 16, 48
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Kind of device -> side of the square matrices whose product is timed as the limit."""

Work = Literal["inference", "training step"]
Run = Callable[[], Tensor]


class Candidate(NamedTuple):
    """A form of the network in a precision."""

    form: Literal["published", "ours, weights in every call", "ours", "ours, compiled", "ours, compiled, CUDA graph"]
    precision: Precision

    def __str__(self) -> str:
        return f"{self.form} {self.precision}"


BASELINE = Candidate("published", "float32")
"""The candidate that all others are compared with."""


def candidates(work: Work, device: torch.device) -> list[Candidate]:
    """The candidates of a kind of work that are measured on a device, BASELINE first."""
    precisions: list[Precision] = ["float32", "bfloat16"] if has_bfloat16(device) else ["float32"]
    result = [BASELINE]
    for precision in precisions:
        if work == "training step":
            result.append(Candidate("ours, weights in every call", precision))
        result += [Candidate("ours", precision), Candidate("ours, compiled", precision)]
        if device.type == "cuda":
            result.append(Candidate("ours, compiled, CUDA graph", precision))
    return result


def start(work: Work, candidate: Candidate, device: torch.device) -> Run:
    """Makes the network, always with the same weights; returns a function that runs it, or a training step, once."""
    network = build(ARCHITECTURE, seed=0)
    layout = torch.contiguous_format if candidate == BASELINE else torch.channels_last
    model: nn.Module = Published(network) if candidate == BASELINE else network  # type: ignore[arg-type]
    if work == "inference" and candidate != BASELINE:
        fold(model)
    model.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    model.train(work == "training step")
    if "compiled" in candidate.form:
        model.compile(dynamic=False, mode="reduce-overhead" if "graph" in candidate.form else None)
    draw = torch.Generator().manual_seed(1)
    if work == "inference":
        image = torch.rand(1, 3, SIDE, SIDE, generator=draw).to(device, memory_format=layout)

        def restore() -> Tensor:
            with torch.inference_mode(), autocast(device, candidate.precision):
                result: Tensor = model(image)
            return result.float()

        return restore

    lr = torch.rand(BATCH, 3, PATCH, PATCH, generator=draw).to(device, memory_format=layout)
    hr = torch.rand(BATCH, 3, 2 * PATCH, 2 * PATCH, generator=draw).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    anew = candidate.form == "ours, weights in every call"
    weights = partial(patch.object, layers, "made_once", nullcontext) if anew else nullcontext

    def step() -> Tensor:
        optimizer.zero_grad()
        with autocast(device, candidate.precision), weights():
            restored = model(lr)
        loss = F.l1_loss(restored.float(), hr)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def multiply_adds(work: Work) -> int:
    """Multiply-adds of one run; a backward pass counts as two forward passes."""
    if work == "inference":
        return count_macs(ARCHITECTURE, SIDE, SIDE)
    return 3 * BATCH * count_macs(ARCHITECTURE, PATCH, PATCH)


def measure(work: Work, device: torch.device, runs: int) -> list[Row]:
    """Times all candidates in turn, together with matrix products; returns a row for each candidate."""
    started = {candidate: start(work, candidate, device) for candidate in candidates(work, device)}
    first = {candidate: run().cpu() for candidate, run in started.items()}
    side, macs = MATRIX[device.type], multiply_adds(work)
    timed: dict[str, Callable[[], object]] = {}
    for precision in {candidate.precision: None for candidate in started}:
        matrix = torch.rand(side, side, device=device, dtype=getattr(torch, precision))
        timed[f"matrices {precision}"] = lambda matrix=matrix: matrix @ matrix  # type: ignore[misc]
    timed |= {str(candidate): run for candidate, run in started.items()}
    times = medians({key: finished(run, device) for key, run in timed.items()}, runs, warm_up=2)
    limit = {candidate: times[f"matrices {candidate.precision}"] for candidate in started}
    return [
        {
            "work": work,
            "network": candidate.form,
            "precision": candidate.precision,
            "median_ms": 1e3 * times[str(candidate)].median,
            "spread_%": 100 * times[str(candidate)].spread,
            "times_as_fast": times[str(BASELINE)].over(times[str(candidate)]),
            "gmacs_per_s": macs / 1e9 / times[str(candidate)].median,
            "matrix_rate_%": 100 * macs / side**3 * limit[candidate].over(times[str(candidate)]),
            "difference": (first[candidate] - first[BASELINE]).abs().max().item(),
            "peak_mib": peak_of_command("benchmarks.model", "--device", str(device), "--peak", work, *candidate),
        }
        for candidate in started
    ]


def finished(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """Wraps a function so that a call ends when the device has finished its work."""

    def call() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it to the file that --json names."""
    arguments = parser(TITLE, runs=7)
    arguments.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu (the default) or cuda")
    arguments.add_argument("--only", choices=get_args(Work), help="measure one kind of work only")
    arguments.add_argument("--peak", nargs=3, metavar=("WORK", "FORM", "PRECISION"), help="print its peak MiB only")
    options = arguments.parse_args(argv)
    if options.peak:
        work, form, precision = options.peak
        print(peak_mib(start(work, Candidate(form, precision), options.device), options.device))
        return
    works: tuple[Work, ...] = ("inference", "training step")
    rows = [
        row for work in works if options.only in (None, work) for row in measure(work, options.device, options.runs)
    ]
    print(table(rows))
    write_json(options.json, TITLE, rows)


if __name__ == "__main__":
    main()
