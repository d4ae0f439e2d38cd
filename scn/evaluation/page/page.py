"""Puts the report together: what the files say, as the templates show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scn.config.params import Params
from scn.core.files import write_atomically
from scn.evaluation.comparison import MARKS, comparisons
from scn.evaluation.page.costs import INPUT, SIDE, Costs, computing
from scn.evaluation.page.environment import templates
from scn.evaluation.page.panels import Panel, cost_of, level_of, method_name, panel
from scn.evaluation.page.pictures import pictures
from scn.evaluation.page.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Lines, lines
from scn.evaluation.page.provenance import Group, provenance
from scn.evaluation.page.studies import Study, studies
from scn.evaluation.protocols import PROTOCOLS
from scn.evaluation.published import citation
from scn.evaluation.runs import Curve, Run, left_out, read_curves, read_runs
from scn.imaging.tasks import TASKS, Task


@dataclass(frozen=True, kw_only=True)
class Section:
    """A task with its panels."""

    task: Task
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the template shows."""

    runs: Sequence[Run]
    left_out: Sequence[str]
    """A sentence for each experiment whose figures are not shown."""
    sections: Sequence[Section]
    curves: Sequence[Lines]
    legend: Mapping[int, str]
    """Number and name of each run that has curves."""
    origins: Mapping[str, Sequence[Group]]
    """Run -> all that its figures come from."""
    studies: Sequence[Study]
    machine: str | None
    """What networks were timed on; None: they were not."""
    papers: Mapping[str, str]
    """Key of each paper that is shown -> its authors, title and year."""
    pictured: bool
    """True: there are pictures."""


def write_page(
    params: Params, out: Path, *, timed: bool = True, machine: str = "", shipped: Sequence[Run] = ()
) -> Path:
    """Writes the report of all experiments that were measured to one HTML file that needs nothing besides itself.

    Args:
        timed: time a forward pass of every network, up to a minute in all.
        machine: this machine's name, for the report.
        shipped: models that ship, shown beside the experiments.
    Returns:
        `out`.
    Raises:
        UserError: if no experiment was measured yet, or a file can't be read or written.
    """
    write_atomically(out, render(gather(params, timed=timed, machine=machine, shipped=shipped)).encode())
    return out


def gather(params: Params, *, timed: bool = True, machine: str = "", shipped: Sequence[Run] = ()) -> Report:
    """Reads, compares and times all that the report shows; arguments and errors are those of `write_page`."""
    runs = [*read_runs(params), *shipped]
    compared = comparisons(runs)
    costs = Costs(timed=timed)
    origins = {method_name(run, "model"): provenance(run, cost_of(run, costs)) for run in runs}
    shown = pictures(params.root, [run for run in runs if not run.ships])
    panels = [panel(each, costs, shown) for each in compared]
    curves = {
        (number, run.name): read_curves(params.root / "curves" / run.name / "plots" / "metrics")
        for number, run in enumerate(runs)
        if not run.ships
    }
    papers = dict.fromkeys(beside.row.paper for each in compared for beside in each.published)
    return Report(
        runs=runs,
        left_out=left_out(params),
        sections=[
            Section(task=TASKS[name], panels=[each for each in panels if each.compared.task == name])
            for name in dict.fromkeys(each.task for each in compared)
        ],
        curves=_plots(curves, runs),
        legend={number: name for (number, name), found in curves.items() if found},
        origins=origins,
        studies=studies(params.root / "studies"),
        machine=", ".join(filter(None, (machine, computing()))) if timed else None,
        papers={paper: citation(paper) for paper in papers},
        pictured=bool(shown),
    )


def render(report: Report) -> str:
    """Returns the report as HTML."""
    environment = templates()
    environment.filters |= {"count": count, "slug": slug}
    rules = {rule.name: rule.title for of_task in PROTOCOLS.values() for rule in of_task}
    environment.globals |= {
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        **{"side": SIDE, "input": INPUT, "marks": MARKS, "rules": rules, "tasks": TASKS},
        **{"level_of": level_of, "method_name": method_name},
    }
    return environment.get_template("report.html.j2").render(report=report)


def count(number: float | None) -> str:
    """Returns a number of parameters or operations for a table: "1.22 M", "57.3 k"; "" for None."""
    if number is None:
        return ""
    number = float(f"{number:.3g}")  # first, as 999,999 is 1 M, not 1000 k
    size, suffix = next(
        ((size, suffix) for size, suffix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")) if number >= size),
        (1, ""),
    )
    return f"{number / size:.3g}{suffix}"


def slug(text: str) -> str:
    """Returns a text as part of an id in HTML; other texts give other ids."""
    return "".join(letter if letter.isalnum() or letter == "-" else f"_{ord(letter):x}_" for letter in text)


def _plots(curves: Mapping[tuple[int, str], Mapping[str, Curve]], runs: Sequence[Run]) -> list[Lines]:
    """Loss, validation, learning rate and throughput of all runs, each in one plot; those that nothing is known of are
    left out."""

    def of(name: str) -> dict[tuple[int, str], Curve]:
        return {key: found[name] for key, found in curves.items() if name in found}

    validation = {
        (number, f"{name}, {curve.removeprefix('psnr_')}"): points
        for (number, name), found in curves.items()
        for curve, points in found.items()
        if curve.startswith("psnr_")
    }
    speed = {}
    for (number, name), steps in of("step_time").items():
        identity = runs[number].config.get("identity") or {}
        if batch := (identity.get("train") or {}).get("batch_size"):
            speed[number, name] = [(step, batch / seconds) for step, seconds in steps if seconds > 0]
    plots = [
        lines("Loss", "", of("loss"), log=True),
        lines("Validation", "PSNR [dB]", validation),
        lines("Learning rate", "", of("learning_rate")),
        lines("Throughput", "patches per second", speed, log=True),
    ]
    return [plot for plot in plots if plot]
