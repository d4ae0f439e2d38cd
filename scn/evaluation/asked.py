"""`scn evaluate` with --images or --method: what was asked for, checked; the table and the JSON file."""

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import check_local, write_atomically, written_beside
from scn.evaluation.compare import Measurement, Options, compare
from scn.inference.handle import Model
from scn.inference.records import Figures

N = TypeVar("N", int, float)
_NAMES = {"psnr": "PSNR", "ssim": "SSIM", "ssim8": "SSIM-8", "psnr_b": "PSNR-B", "lpips": "LPIPS", "dists": "DISTS"}
_IN_DB = ("psnr", "psnr_b")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of `scn evaluate`; empty ones were not given."""

    experiments: list[str]
    sets: list[str]
    methods: list[str]
    matrix: bool
    inputs: str | None
    self_ensemble: bool
    scales: str | None
    ratio: str | None
    tile: int | None
    perceptual: bool
    json_file: Path | None
    save: str | None


def run(params: Params, asked: Asked, load: Callable[[str], Model]) -> None:
    """Measures what was asked for, prints a table, and writes the JSON file.

    The file holds one measurement (scn.evaluation.compare.Measurement), or, where several are asked for, a list.

    Args:
        load: loads a model by its reference (scn.registry.reference.load).
    Raises:
        UserError: if several of a kind are given without --matrix, or something can't be measured.
    """
    for option, given in (("experiment", asked.experiments), ("images", asked.sets), ("method", asked.methods)):
        if len(given) > 1 and not asked.matrix:
            raise UserError(f"--{option} is given {len(given)} times: add --matrix to measure every combination.")
    for option, names in (("images", asked.sets), ("inputs", [asked.inputs]), ("save", [asked.save])):
        if "" in names:
            raise UserError(f"--{option} is empty: name a folder{' or a corpus' if option != 'save' else ''}.")
    options = Options(
        self_ensemble=asked.self_ensemble,
        tile=asked.tile,
        perceptual=asked.perceptual,
        scales=_numbers(asked.scales, "scales", int),
        ratios=_numbers(asked.ratio, "ratio", float),
        save=None if asked.save is None else Path(asked.save),
    )
    if asked.json_file:
        _check_json(asked.json_file)
    methods = asked.methods or [str(params.root / "models" / name) for name in asked.experiments]
    found, whole = list[Measurement](), False
    try:
        for measurement in compare(
            params,
            experiments=asked.experiments,
            sets=asked.sets,
            methods=methods,
            load=load,
            inputs=asked.inputs,
            options=options,
        ):
            found.append(measurement)
        whole = True
    finally:  # what was measured before a damaged file, or Ctrl-C, is told all the same
        if found:
            _print(found)
        if found and asked.json_file:
            several = asked.matrix or len(found) > 1 or not whole
            content = [each.model_dump(exclude_none=True) for each in found]
            text = json.dumps(content if several else content[0], indent=1, ensure_ascii=False) + "\n"
            write_atomically(asked.json_file, text.encode())
            if not whole:
                print(f"{asked.json_file} holds what was measured before, not all that was asked for.", file=sys.stderr)


def _check_json(path: Path) -> None:
    """Raises UserError if the file can't be written, before hours of measuring."""
    check_local("--json", path, "a file")
    try:
        if path.is_dir():
            raise UserError(f"--json: {path} is a folder: name a file.")
        with written_beside(path, lambda _: None):
            pass
    except OSError as error:
        raise UserError(f"--json: {path} can't be written ({error.strerror}): name a file elsewhere.") from None


def _numbers(text: str | None, option: str, kind: Callable[[str], N]) -> list[N]:
    """The numbers of an option such as 3,6,9, all above 0."""
    try:
        numbers = [kind(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        numbers = [kind("0")]
    if not all(number > 0 for number in numbers):
        raise UserError(f"--{option}: '{text}' is no list of numbers above 0: write it as 3,6,9.")
    return numbers


def _print(measurements: Iterable[Measurement]) -> None:
    """A row for each measurement and protocol, then what is not as usual, each once."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = [(each, under) for each in measurements for under in (each, *each.further)]
    shown = [name for name in _NAMES if any(getattr(under.mean, name) is not None for _, under in rows)]
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)  # a log or a pipe has no width of its own
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("experiment", "set", "images", "method", "protocol"):
        table.add_column(column, overflow="fold", justify="right" if column == "images" else "left")
    for name in shown:
        table.add_column(_NAMES[name], justify="right", no_wrap=True)
    for each, under in rows:
        count = str(len(under.images))
        cells = (each.experiment, each.set, count, each.title, under.protocol, *_cells(under.mean, shown))
        table.add_row(*map(escape, cells))  # a folder may be called [old]
    console.print(table)
    for note in dict.fromkeys(f"{each.set}: {note}" for each, _ in rows for note in each.notes):
        console.print(note, soft_wrap=True, markup=False)


def _cells(figures: Figures, names: list[str]) -> list[str]:
    values = [getattr(figures, name) for name in names]
    digits = [2 if name in _IN_DB else 4 for name in names]
    return ["" if value is None else f"{value:.{count}f}" for value, count in zip(values, digits, strict=True)]
