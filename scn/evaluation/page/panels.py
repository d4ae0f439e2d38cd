"""What the report shows of one evaluation set at one level of a task: table, plots, gains, pictures."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from scn.core.errors import UserError
from scn.evaluation.comparison import Beside, Comparison
from scn.evaluation.page.costs import ENSEMBLE, Cost, Costs
from scn.evaluation.page.pictures import Shown
from scn.evaluation.page.plots import Histogram, Kind, Point, Scatter, histogram, scatter
from scn.evaluation.paper_networks import is_ensemble
from scn.evaluation.results import gain
from scn.evaluation.runs import Run
from scn.imaging.tasks import TASKS
from scn.inference.records import Figures


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table: a method, ours or published, on one evaluation set."""

    name: str
    kind: Kind
    psnr: float
    ssim: float | None = None
    ssim8: float | None = None
    psnr_b: float | None = None
    run: Run | None = None
    """The run that the figures come from; None for published ones."""
    beside: Beside | None = None
    """Difference and marks of a published row; None for ours."""
    cost: Cost | None = None
    passes: int = 1
    """Passes of the network for one image: 8 with self-ensemble."""
    own_marks: str = ""
    """Keys of scn.evaluation.comparison.MARKS for ours."""

    @property
    def parameters(self) -> int | None:
        """Returns the parameters: printed ones where there are some."""
        printed = self.beside.row.parameters if self.beside else None
        return printed or (self.cost.parameters if self.cost else None)

    @property
    def macs(self) -> int | None:
        """Returns the multiply-adds of one pass for an input of 128x128 pixels: printed ones where there are some."""
        printed = self.beside.row.multiply_adds if self.beside else None
        return printed or (self.cost.macs if self.cost else None)

    @property
    def seconds(self) -> float | None:
        """Returns the seconds per megapixel of the restored image; None if the network was not timed."""
        return self.cost.seconds * self.passes if self.cost and self.cost.seconds else None


@dataclass(frozen=True, kw_only=True)
class Gains:
    """The gains in PSNR of one run over the images of one set."""

    run: Run
    protocol: str
    """The protocol of the gains."""
    histogram: Histogram
    images: int
    mean: float
    worse: int
    """Images where the model is worse than the degraded input."""
    shown: Sequence[Shown]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """All that the report shows of one evaluation set at one level."""

    compared: Comparison
    rows: Sequence[Row]
    """Those under the comparison's protocol."""
    others: Sequence[tuple[str, Sequence[Row]]]
    """Other protocols that something is published under, each with its rows: their figures are in no one order."""
    by_parameters: Scatter | None
    by_time: Scatter | None
    further: Sequence[tuple[str, str, Figures]]
    """Figures under the other protocols of the task: protocol, method and figures."""
    gains: Sequence[Gains]

    @property
    def title(self) -> str:
        """Returns the level and the set: "sigma 25, BSD68"."""
        return f"{level_of(self.compared.task, self.compared.level)}, {self.compared.set_name}"

    def has(self, figure: Literal["ssim8", "psnr_b", "seconds", "parameters", "macs"]) -> bool:
        """True if the table needs a column for the figure: a row has it; for multiply-adds, a paper prints it."""
        rows = [*self.rows, *(row for _, rows in self.others for row in rows)]
        if figure == "macs":
            return any(row.beside and row.beside.row.multiply_adds for row in rows)
        return any(getattr(row, figure) is not None for row in rows)


def panel(compared: Comparison, costs: Costs, shown: Mapping[tuple[str, str], Sequence[Shown]]) -> Panel:
    """Returns all that the report shows of a comparison.

    Args:
        shown: run and evaluation set -> the images whose pictures are shown.
    """
    tables = {
        rule: [*_our_rows(compared, costs, rule), *_published_rows(compared, costs, rule)]
        for rule in compared.protocols
    }
    rows = tables.pop(compared.protocol)
    return Panel(
        compared=compared,
        rows=rows,
        others=list(tables.items()),
        by_parameters=scatter(list(_points(rows, "parameters")), "parameters", "PSNR [dB]"),
        by_time=scatter(list(_points(rows, "seconds")), "seconds per megapixel", "PSNR [dB]"),
        further=[
            (rule, method_name(run, method), figures)
            for run in compared.runs
            for rule, methods in run.evaluation.sets[compared.set_name].mean.items()
            if rule != compared.protocol
            for method, figures in methods.items()
        ],
        gains=[found for run in compared.runs if (found := _gains(run, compared, shown))],
    )


def level_of(task: str, level: int) -> str:
    """Returns a level in a few letters: "x2", "sigma 25", "quality 10"."""
    return f"x{level}" if TASKS[task].level_name == "scale" else f"{TASKS[task].level_name} {level}"


def method_name(run: Run, method: str) -> str:
    """Returns the name of a method in tables: "bicubic", "sr-x2", "sr-x2, self-ensemble"."""
    if method == "input":
        return TASKS[run.evaluation.task].degraded_name
    name = f"{run.name} (ships)" if run.ships else run.name
    return name if method == "model" else f"{name}, self-ensemble"


def cost_of(run: Run, costs: Costs) -> Cost | None:
    """Returns the cost of a run's network; None if the model is not here, or is of another version of the project."""
    with suppress(UserError):
        return costs.of(run.architecture) if run.architecture else None
    return None


def _our_rows(compared: Comparison, costs: Costs, rule: str) -> Iterator[Row]:
    yield from _row(compared, compared.reference, "input", None, rule)
    for run in compared.runs:
        for method in ("model", "ensemble"):
            yield from _row(compared, run, method, cost_of(run, costs), rule)


def _row(compared: Comparison, run: Run, method: str, cost: Cost | None, rule: str) -> Iterator[Row]:
    """A row of ours, if it was measured under the protocol."""
    figures = run.figures(compared.set_name, rule, method)
    if figures is None:
        return
    kinds: Mapping[str, Kind] = {"input": "input", "model": "model", "ensemble": "ensemble"}
    yield Row(
        name=method_name(run, method),
        kind=kinds[method],
        psnr=figures.psnr,
        ssim=figures.ssim,
        ssim8=figures.ssim8,
        psnr_b=figures.psnr_b,
        run=run,
        cost=cost,
        passes=ENSEMBLE if method == "ensemble" else 1,
        own_marks=compared.marks(run),
    )


def _published_rows(compared: Comparison, costs: Costs, rule: str) -> Iterator[Row]:
    for beside in compared.published:
        row = beside.row
        if row.protocol != rule:
            continue
        assert row.psnr is not None
        yield Row(
            name=row.method,
            kind="published",
            psnr=row.psnr,
            ssim=row.ssim,
            ssim8=row.ssim8,
            beside=beside,
            cost=costs.of_published(row),
            passes=ENSEMBLE if is_ensemble(row) else 1,
        )


def _points(rows: Sequence[Row], over: Literal["parameters", "seconds"]) -> Iterator[Point]:
    for row in rows:
        if x := getattr(row, over):
            place = f"{row.parameters:,} parameters" if over == "parameters" else f"{x:.3g} s per megapixel"
            yield Point(
                name=row.name.replace(", self-ensemble", "+"),
                x=x,
                y=row.psnr,
                kind=row.kind,
                told=f"{row.name}: {row.psnr:.2f} dB, {place}",
            )


def _gains(run: Run, compared: Comparison, shown: Mapping[tuple[str, str], Sequence[Shown]]) -> Gains | None:
    """The gains under the comparison's protocol, or, where an image lacks it, the task's first; None without images."""
    images = run.evaluation.sets[compared.set_name].images
    if not images:
        return None
    every = all(compared.protocol in image.figures for image in images)
    protocol = compared.protocol if every else next(iter(images[0].figures))
    gains = [gain(image, protocol) for image in images]
    return Gains(
        run=run,
        protocol=protocol,
        histogram=histogram(gains),
        images=len(gains),
        mean=sum(gains) / len(gains),
        worse=sum(value < 0 for value in gains),
        shown=shown.get((run.name, compared.set_name), ()),
    )
