"""The studies that were carried out (studies/NAME/result.json), as the report shows them."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_PLOT = 200_000
"""Bytes of a plot above which it is left out."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: each variant's PSNR over the seeds, on each evaluation set."""

    title: str
    sets: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    """A variant, and its figures, one of each set."""
    plot: str | None
    """Its plot.svg as a data URI."""


def studies(folder: Path) -> list[Study]:
    """Returns the studies below a folder, by name; those whose result is missing, damaged or of another form are left
    out."""
    found = []
    for path in sorted(folder.glob("*/result.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            found.append(_study(json.loads(path.read_bytes()), path.with_name("plot.svg")))
    return found


def _study(result: Mapping[str, Any], plot: Path) -> Study:
    variants = result["variants"]
    sets = list(dict.fromkeys(name for about in variants.values() for name in about["sets"]))
    rows = [
        (str(about.get("title", name)), [" ".join(_figures(about["sets"].get(each))) for each in sets])
        for name, about in variants.items()
    ]
    return Study(title=str(result["title"]), sets=sets, rows=rows, plot=_image(plot))


def _figures(summary: Mapping[str, Any] | None) -> Iterator[str]:
    """The mean PSNR, its standard deviation over the seeds, and the difference from the reference."""
    if summary is None:
        return
    psnr = summary["psnr"]
    yield f"{psnr['mean']:.3f}"
    if psnr.get("std") is not None:
        yield f"± {psnr['std']:.3f}"
    if summary.get("difference"):
        yield f"({summary['difference']['mean']:+.3f})"


def _image(path: Path) -> str | None:
    with suppress(OSError):
        if path.stat().st_size <= LARGEST_PLOT:
            return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return None
