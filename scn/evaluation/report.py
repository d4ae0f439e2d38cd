"""The report as tables: the figures of all experiments, beside published ones, and where their versions lie."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.evaluation.comparison import MARKS, Beside, Comparison, comparisons, size_of
from scn.evaluation.paper_networks import parameters_of
from scn.evaluation.protocols import PROTOCOLS, protocol
from scn.evaluation.published import KNOWN_AS, Published, citation
from scn.evaluation.runs import Run, left_out, read_runs
from scn.imaging.tasks import TASKS
from scn.inference.records import Figures

if TYPE_CHECKING:
    from rich.table import Table

FIGURES_HEADER = ("experiment", "evaluation set", "input", "model", "self-ensemble", "gain")
HEADER = (*FIGURES_HEADER, "published as")
BESIDE_HEADER = ("method", "PSNR / SSIM", "ours minus theirs", "parameters", "marks", "source", "trained on")
SHIPPED_HEADER = ("model", "evaluation set", "input", "ours", "ours, self-ensemble", "published (PSNR)")
MARKS_OF_TABLE = ("<!-- models that ship -->", "<!-- end of models that ship -->")
"""The lines of a Markdown file before and after the table of the models that ship."""
_PEERS = ("BM3D", "TNRD", "DnCNN", "ARCNN", "SRCNN", "FSRCNN", "VDSR")
_TITLE = "PSNR in dB / SSIM of the degraded input and of the model's result"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the report: one evaluation set of one experiment, as text; figures are `PSNR in dB / SSIM`."""

    experiment: str
    evaluation_set: str
    input: str
    model: str
    ensemble: str
    gain: str
    """PSNR of the model minus that of the degraded input, in dB."""
    published: str
    """The URL of the published version, or "not published"."""

    def cells(self) -> tuple[str, ...]:
        """Returns the row's cells, in the order of HEADER."""
        return astuple(self)


def lines(runs: Sequence[Run]) -> list[Line]:
    """Returns a row for each evaluation set of each run, under the task's first protocol."""
    return [line for run in runs for line in _lines(run)]


def beside(compared: Comparison, rule: str) -> list[tuple[bool, tuple[str, ...]]]:
    """Returns ours and the published figures of a set under a protocol, by PSNR.

    Args:
        rule: the protocol's name.
    Returns:
        whether it is ours, and the cells of BESIDE_HEADER.
    """
    rows: list[tuple[float, bool, tuple[str, ...]]] = []
    for run in compared.runs:
        count = size_of(run)
        size, marks, data = f"{count:,}" if count else "", compared.marks(run), ", ".join(run.training_corpora)
        for method, name in (("model", run.name), ("ensemble", f"{run.name}, self-ensemble")):
            if figures := run.figures(compared.set_name, rule, method):
                rows.append((figures.psnr, True, (name, str(figures), "", size, marks, "ours", data)))
    rows += [(each.row.psnr or 0, False, _published(each)) for each in compared.published if each.row.protocol == rule]
    return [(ours, cells) for _, ours, cells in sorted(rows, key=lambda row: row[0])]


def table(runs: Sequence[Run]) -> "Table":
    """Returns the figures of runs as a table for a terminal of 80 columns or more."""
    from rich.markup import escape

    title = f"{_TITLE} ({', '.join(_firsts(runs))})"
    result = _table(title, FIGURES_HEADER, fold="evaluation set", left=("experiment", "evaluation set"))
    for line in lines(runs):
        result.add_row(*map(escape, line.cells()[: len(FIGURES_HEADER)]))
    return result


def print_report(params: Params, shipped: Sequence[Run] = ()) -> None:
    """Prints the tables, the protocols, and where the versions lie.

    Args:
        shipped: models that ship, shown beside the experiments.
    Raises:
        UserError: if no experiment was measured yet, or a file can't be read.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)  # a log or a pipe has no width of its own
    runs = [*read_runs(params), *shipped]
    compared = _compared(runs)
    console.print(table(runs))
    for each in compared:
        header = BESIDE_HEADER[:-1]  # what they were trained on is too long for a terminal; the marks tell the rest
        for rule in each.protocols:
            rows = _table(_heading(each, rule), header, fold="source", left=("method", "marks", "source"))
            for ours, row in beside(each, rule):
                rows.add_row(*map(escape, row[: len(header)]), style="bold" if ours else None)
            console.print(rows)
            console.print(_reference(each), soft_wrap=True, markup=False)
            console.print()
    told = [line for line in lines(runs) if line.published]
    for heading, texts in (
        ("Marks", _marks(compared)),
        ("Papers", _papers(compared)),
        ("Measured by", _protocols(runs, compared)),
        ("Published", dict.fromkeys(f"{line.experiment}: {line.published}" for line in told)),
        ("Left out", left_out(params)),
    ):
        if texts:
            console.print(heading)
        for text in texts:
            console.print(f"  {text}", soft_wrap=True, markup=False)


def report_stage(params: Params, out: Path, shipped: Sequence[Run] = ()) -> Path:
    """The stage `report`: writes the tables as Markdown to `out` and returns `out`; the rest is as for print_report."""
    runs = [*read_runs(params), *shipped]
    compared = _compared(runs)
    text = [
        "# What the models reach",
        "",
        "PSNR in dB / SSIM of the degraded input, of the model, and of the model with self-ensemble (the mean over the "
        "8 flips and rotations): means over each evaluation set, under the first protocol of each task "
        f"({', '.join(_firsts(runs))}). Gain: PSNR of the model over the input.",
        "",
        markdown_table(HEADER, [line.cells() for line in lines(runs)]),
        "",
        *(f"- {told}" for told in (*_protocols(runs, compared), *left_out(params))),
        "",
    ]
    for each in compared:
        for rule in each.protocols:
            rows = [(f"**{name}**" if ours else name, *cells) for ours, (name, *cells) in beside(each, rule)]
            text += [f"## {_heading(each, rule)}", "", markdown_table(BESIDE_HEADER, rows), "", _reference(each), ""]
    if compared:
        text += [*(f"- {line}" for line in (*_marks(compared), *_papers(compared))), ""]
    write_atomically(out, "\n".join(text).encode())
    return out


def shipped_table(shipped: Sequence[Run]) -> str:
    """Returns Markdown with the figures of models that ship, on the sets that something is published of.

    The published ones are those of the networks of their time that people know, and of BM3D; the rest is in the report.
    """
    rows = [
        (
            f"`{run.name}`",
            KNOWN_AS.get(each.set_name, each.set_name),
            *(str(each.figures(run, method)) for method in ("input", "model", "ensemble")),
            ", ".join(f"{row.method} {row.psnr:.2f}" for row in _peers(each)),
        )
        for each in _compared(shipped)
        for run in each.runs
    ]
    return markdown_table(SHIPPED_HEADER, rows)


def write_shipped_table(path: Path, shipped: Sequence[Run]) -> None:
    """Writes the table of the models that ship into a Markdown file, between its lines MARKS_OF_TABLE.

    Raises:
        UserError: if the file is not there, or lacks these lines.
    """
    first, last = MARKS_OF_TABLE
    try:
        before, rest = path.read_text().split(f"{first}\n")
        _, after = rest.split(last)
    except (OSError, ValueError):
        raise UserError(f"{path} has no place for the table: write the lines {first} and {last} into it.") from None
    write_atomically(path, f"{before}{first}\n{shipped_table(shipped)}\n{last}{after}".encode())


def markdown_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown, padded so that it can be read as text too."""
    grid = [header, *rows]
    widths = [max(len(row[i]) for row in grid) for i in range(len(header))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in grid]
    text.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in text)


def _lines(run: Run) -> Iterator[Line]:
    for name, result in run.evaluation.sets.items():
        figures: Mapping[str, Figures] = next(iter(result.mean.values()))
        yield Line(
            experiment=f"{run.name} (ships)" if run.ships else run.name,
            evaluation_set=name,
            input=str(figures["input"]),
            model=str(figures["model"]),
            ensemble=str(figures["ensemble"]),
            gain=f"{figures['model'].psnr - figures['input'].psnr:+.2f}",
            published="" if run.ships else run.published,
        )


def _published(each: Beside) -> tuple[str, ...]:
    row, size = each.row, parameters_of(each.row)
    ssim = "" if row.ssim is None else f" / {row.ssim:.4f}"
    return (
        row.method,
        f"{row.psnr:.2f}{ssim}",
        "" if each.difference is None else f"{each.difference:+.2f}",
        f"{size:,}" if size else "",
        " ".join(each.marks),
        f"{row.paper}, {row.table}",
        row.training_data,
    )


def _peers(each: Comparison) -> list[Published]:
    """The published figures of networks of about this size and of BM3D, by PSNR, each method once."""
    rows = (beside.row for beside in each.published if beside.row.protocol == each.protocol and "!" not in beside.marks)
    found = {row.method: row for row in rows if row.method in _PEERS}
    return sorted(found.values(), key=lambda row: row.psnr or 0)


def _compared(runs: Sequence[Run]) -> list[Comparison]:
    """The evaluation sets that something is published of."""
    return [each for each in comparisons(runs) if each.published]


def _heading(each: Comparison, rule: str) -> str:
    task = TASKS[each.task]
    return f"{task.title}, {task.level_name} {each.level}, {each.set_name}, {rule}: beside published figures"


def _reference(each: Comparison) -> str:
    return f"Ours, in differences and marks: {each.reference.name}, with self-ensemble where theirs has it."


def _table(title: str, header: Sequence[str], *, fold: str, left: Sequence[str]) -> "Table":
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    result = Table(
        title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    for column in header:
        # Only one column may be folded in a narrow terminal.
        justify = "left" if column in left else "right"
        result.add_column(column, justify=justify, no_wrap=column != fold, overflow="fold")  # type: ignore[arg-type]
    return result


def _marks(compared: Sequence[Comparison]) -> list[str]:
    used = "".join(row.marks for each in compared for row in each.published)
    used += "".join(each.marks(run) for each in compared for run in each.runs)
    return [f"{mark}: {text}" for mark, text in MARKS.items() if mark in used]


def _papers(compared: Sequence[Comparison]) -> list[str]:
    papers = dict.fromkeys(row.row.paper for each in compared for row in each.published)
    return [f"{paper}: {citation(paper)}" for paper in papers]


def _firsts(runs: Sequence[Run]) -> list[str]:
    """The protocols that `lines` are under."""
    return [PROTOCOLS[task][0].name for task in dict.fromkeys(run.evaluation.task for run in runs)]


def _protocols(runs: Sequence[Run], compared: Sequence[Comparison]) -> list[str]:
    """The protocols behind all tables, each once."""
    names = dict.fromkeys([*_firsts(runs), *(name for each in compared for name in each.protocols)])
    return [f"{name}: {protocol(name).title}" for name in names]
