"""The report: a table of the figures of all experiments, and where their published versions lie."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.evaluation.protocols import protocols_of
from scn.evaluation.results import Evaluation, figures_of, result_file
from scn.inference.records import Receipt, Record

if TYPE_CHECKING:
    from rich.table import Table

FIGURES_HEADER = ("experiment", "evaluation set", "input", "model", "self-ensemble", "gain")
HEADER = (*FIGURES_HEADER, "published as")
R = TypeVar("R", bound=Record)


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


def lines(params: Params) -> list[Line]:
    """Returns a row for each evaluation set of each experiment that was measured, in params.yaml's order.

    Raises:
        UserError: if no experiment was measured yet, or a file can't be read.
    """
    found = [line for name in params.experiments for line in _lines(params, name)]
    if not found:
        raise UserError(f"{params.root / 'evaluations'} has no figures of any experiment yet: run `dvc repro` first.")
    return found


def table(params: Params) -> "Table":
    """Returns the figures as a table for a terminal of 80 columns or more; raises UserError as `lines`."""
    from rich import box
    from rich.table import Table

    result = Table(
        title="PSNR in dB / SSIM of the degraded input and of the model's result",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in FIGURES_HEADER:
        result.add_column(
            column,
            justify="left" if column in ("experiment", "evaluation set") else "right",
            no_wrap=column != "evaluation set",  # the only one that may be folded in a narrow terminal
            overflow="fold",
        )
    for line in lines(params):
        result.add_row(*line.cells()[: len(FIGURES_HEADER)])
    return result


def print_report(params: Params) -> None:
    """Prints the table, the protocols, and where the versions lie; raises UserError as `lines`."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)  # a log or a pipe has no width of its own
    console.print(table(params))
    for heading, texts in (
        ("Measured by", _protocols(params)),
        ("Published", dict.fromkeys(f"{line.experiment}: {line.published}" for line in lines(params))),
    ):
        console.print(heading)
        for text in texts:
            console.print(f"  {text}", soft_wrap=True, markup=False)


def report_stage(params: Params, out: Path) -> Path:
    """The stage `report`: writes the table as Markdown to `out` and returns `out`; raises UserError as `lines`."""
    text = [
        "# What the models reach",
        "",
        "PSNR in dB / SSIM of the degraded input, of the model, and of the model with self-ensemble (the mean over the "
        "8 flips and rotations): means over each evaluation set. Gain: PSNR of the model over the input.",
        "",
        markdown_table(HEADER, [line.cells() for line in lines(params)]),
        "",
        *(f"- {protocol}" for protocol in _protocols(params)),
        "",
    ]
    write_atomically(out, "\n".join(text).encode())
    return out


def markdown_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown, padded so that it can be read as text too."""
    grid = [header, *rows]
    widths = [max(len(row[i]) for row in grid) for i in range(len(header))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in grid]
    text.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in text)


def _lines(params: Params, name: str) -> Iterator[Line]:
    again = f"run `dvc repro ensemble@{name}`"
    evaluation = _read(Evaluation, result_file(params.root, name, "ensemble"), again)
    if evaluation is None:
        return
    metrics = figures_of(evaluation)
    receipt = _read(Receipt, params.root / "published" / f"{name}.json", f"run `dvc repro publish@{name}`")
    for set_name, figures in metrics.sets.items():
        yield Line(
            experiment=name,
            evaluation_set=set_name,
            input=str(figures.input),
            model=str(figures.model),
            ensemble=str(figures.ensemble),
            gain=f"{figures.model.psnr - figures.input.psnr:+.2f}",
            published="not published" if receipt is None else receipt.url,
        )


def _read(kind: type[R], path: Path, cure: str) -> R | None:
    """The record in a file; None if there is none."""
    try:
        return kind.loads(path.read_bytes(), path, cure)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): {cure}.") from None


def _protocols(params: Params) -> list[str]:
    """The protocols behind the lines, each once."""
    shown = dict.fromkeys(line.experiment for line in lines(params))
    rules = [protocols_of(params.experiment(name).task)[0] for name in shown]
    return list(dict.fromkeys(f"{rule.name}: {rule.title}" for rule in rules))
