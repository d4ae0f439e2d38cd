"""Published figures: what the papers print, under the names of this project (published.csv).

The rows are tables 1 to 3 of the SCN paper, tables 2 to 4 and the supplement's table 1 of the MS-Conv paper, and
table 1 of the replication, as printed. What a paper does not state is left empty. The papers' BSD100 is BSDS500/val
here. The replication's "Set14" is left out: it is a single image.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from scn.core.schema import unknown

FILE = Path(__file__).with_name("published.csv")
"""Path of published.csv, UTF-8, one line for each figure; its columns are the fields of `Published`."""
KNOWN_AS = {"BSDS500/val": "BSD100"}
"""A set of this project -> its name in papers, where that is another."""
_CITATIONS = {
    "scn-aaai2020": "Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020",
    "ms3conv": "Feng, Guan, Qiao, Dong: Exploring Multi-Scale Feature Propagation and Communication for Image Super "
    "Resolution, arXiv:2008.00239, 2020",
    "scn-replication-pratap": "Pratap: Scale-wise Convolution for image restoration (project report), Purdue "
    "University 2024",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What one paper prints for one method at one level on one set of images."""

    paper: str
    """The paper that prints the figure, as `citation` takes it; often not the one that introduced the method."""
    table: str
    """The table in that paper: "table1", or "supplement-table1"."""
    method: str
    """The method as the paper spells it. "+" at the end means self-ensemble, except in `MS3-Conv+`, which is a deeper
    network, and A+, whose name it is."""
    task: str
    """Task, a key of scn.imaging.tasks.TASKS: sr, dn or car."""
    level: int
    """Level of the task: the upscaling factor, sigma of the noise where 255 is white, or the quality of JPEG."""
    set: str
    """Images, as a corpus of this project. The papers' BSD100 or B100 is BSDS500/val. DIV2K/validation is also what the
    MS-Conv paper calls "DIV2K test set"."""
    protocol: str
    """Name of the protocol of scn.evaluation.protocols that the paper's description fits. The MS-Conv paper names luma
    for all sets, DIV2K too, but no frame; the replication names none (its `note` says so)."""
    psnr: float | None
    """PSNR in dB as printed; `note` begins with "misprint" where it can't be right."""
    ssim: float | None
    """SSIM with the 11x11 Gaussian window; None where the paper prints none, or only the other one."""
    ssim8: float | None
    """SSIM with the uniform 8x8 window: the columns JPEG, SA-DCT and ARCNN of the SCN paper's table 3; otherwise
    None. It can't be compared with `ssim`."""
    parameters: int | None
    """Parameters as printed, with two to five digits; None where that paper states none."""
    multiply_adds: int | None
    """Multiply-adds of the convolutions as printed, for a low-resolution input of 128x128 pixels (512x512 at x4); None
    where that paper states none. The MS-Conv paper does not name that size: with it its figures come out exactly."""
    training_data: str
    """Images that the method was trained on, in words; "" where that paper does not state it."""
    note: str
    """What else one must know to compare the figure; "" for nothing."""


def published(task: str, level: int, set_name: str | None = None) -> list[Published]:
    """Returns the published figures of a task at a level, in the order of the papers' tables.

    Args:
        level: the upscaling factor, sigma of the noise, or quality of JPEG.
        set_name: only those on these images ("Set5", "BSDS500/val"); None: on all.
    Returns:
        an empty list if nothing is published for them.
    """
    return [
        row for row in _rows() if (row.task, row.level) == (task, level) and (set_name is None or row.set == set_name)
    ]


def citation(paper: str) -> str:
    """Returns authors, title, venue and year of a paper of published.csv; raises ValueError for another name."""
    if paper not in _CITATIONS:
        raise ValueError(unknown(paper, _CITATIONS, "paper"))
    return _CITATIONS[paper]


@functools.cache
def _rows() -> tuple[Published, ...]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_row(line) for line in csv.DictReader(file, strict=True))


def _row(line: dict[str, str]) -> Published:
    return Published(
        paper=line["paper"],
        table=line["table"],
        method=line["method"],
        task=line["task"],
        level=int(line["level"]),
        set=line["set"],
        protocol=line["protocol"],
        psnr=_number(line["psnr"]),
        ssim=_number(line["ssim"]),
        ssim8=_number(line["ssim8"]),
        parameters=_count(line["parameters"]),
        multiply_adds=_count(line["multiply_adds"]),
        training_data=line["training_data"],
        note=line["note"],
    )


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def _count(cell: str) -> int | None:
    return int(cell) if cell else None
