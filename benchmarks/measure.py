"""Tools of all benchmarks: they time candidates in turn, describe the machine, and write tables and JSON.

A benchmark is a module with a `main()` that is run as `python -m benchmarks.NAME [--json FILE] [--runs N]`. Its
candidates take turns, so that whatever else the machine does meanwhile slows all of them; a figure is a median, and a
comparison the median of the quotients of neighbouring runs.
"""

import argparse
import datetime
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import psutil

from scn.core.files import write_atomically
from scn.corpora.images import found_pillow
from scn.evaluation.report import markdown_table

Row = Mapping[str, object]
"""A row of a table and of the JSON: column -> value. The column's name has the unit ("median_ms")."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The times of one candidate's runs."""

    seconds: tuple[float, ...]
    """Seconds of each run, in the order of the runs."""

    @property
    def median(self) -> float:
        """Median of the runs, in seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Distance between the quartiles, as a share of the median; 0 for a single run."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median

    def over(self, other: "Timing") -> float:
        """Ratio of this time to that of `other`: the median over the rounds that `medians` made of both."""
        return median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True))


def medians(
    candidates: Mapping[str, Callable[[], object]],
    runs: int,
    warm_up: int = 1,
    before: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Times candidates in turn: `runs` rounds of one call each, after `warm_up` rounds that don't count.

    Every other round has the reverse order, so that no candidate always profits or suffers from the one before it.

    Args:
        candidates: name -> function to be timed.
        before: is called before each of their calls; it isn't timed.
    Returns:
        Name -> Timing, in the order of `candidates`.
    Raises:
        ValueError: if `runs` is less than 1.
    """
    if runs < 1:
        raise ValueError(f"{runs} runs have no median: ask for at least 1")
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for number in range(warm_up + runs):
        for name in order:
            before()
            start = perf_counter()
            candidates[name]()
            elapsed = perf_counter() - start
            if number >= warm_up:
                seconds[name].append(elapsed)
        order.reverse()
    return {name: Timing(seconds=tuple(taken)) for name, taken in seconds.items()}


def on_this_machine() -> None:
    """Has this process, and those that it starts, join no cluster: it would be the cluster that is measured."""
    os.environ.pop("RAY_ADDRESS", None)


def machine() -> dict[str, object]:
    """Describes hardware and versions on which figures depend; names neither the machine nor its folders."""
    info = Path("/proc/cpuinfo")  # on Linux platform.processor() says nothing
    models = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "pil": found_pillow(),
    }


def table(rows: Sequence[Row]) -> str:
    """Formats rows as a Markdown table with aligned columns, which are those of the first row."""
    return markdown_table(tuple(rows[0]), [tuple(_text(row[column]) for column in rows[0]) for row in rows])


def write_json(path: Path | None, title: str, rows: Iterable[Row]) -> None:
    """Writes title, date, machine and rows as JSON; nothing without a path. Raises UserError if it can't be written."""
    if path is None:
        return
    today = datetime.date.today().isoformat()
    result = {"title": title, "date": today, "machine": machine(), "rows": [dict(row) for row in rows]}
    write_atomically(path, (json.dumps(result, indent=2) + "\n").encode())


def parser(description: str, runs: int) -> argparse.ArgumentParser:
    """Makes a parser of the arguments that all benchmarks have: --json FILE, and --runs N with `runs` as default."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file")
    result.add_argument("--runs", type=int, default=runs, metavar="N", help="number of rounds (default: %(default)s)")
    return result


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)
