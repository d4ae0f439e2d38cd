"""The published figures: complete, as printed, and under names that this project knows."""

import csv
import dataclasses
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.corpora.catalogue import load_catalogue
from scn.evaluation.protocols import PROTOCOLS
from scn.evaluation.published import FILE, Published, citation, published
from scn.imaging.tasks import TASKS
from scn.networks.build import build
from scn.networks.profile import count_macs

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
SETS = {
    "sr": {"Set5", "Set14", "BSDS500/val", "Urban100", "DIV2K/validation"},
    "dn": {"Set12", "BSD68", "Urban100"},
    "car": {"LIVE1", "classic5"},
}
LEVELS = {"sr": (2, 3, 4), "dn": (15, 25, 50), "car": (10, 20, 30, 40)}
OURS = {"BSD100": "BSDS500/val", "DIV2K-valid": "DIV2K/validation"}
"""The reference's name of a set -> this project's."""
WINDOW_8 = {"JPEG", "SA-DCT", "ARCNN"}
"""Methods whose SSIM in table 3 has the uniform 8x8 window."""

ROWS = [row for task, levels in LEVELS.items() for level in levels for row in published(task, level)]


def reference(name: str) -> list[dict[str, str]]:
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"the reference {name} is not here (../shared/reference)")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def one(paper: str, table: str, method: str, task: str, level: int, set_name: str) -> Published:
    (found,) = [
        row for row in published(task, level, set_name) if (row.paper, row.table, row.method) == (paper, table, method)
    ]
    return found


def number(cell: str) -> float | None:
    return float(cell) if cell else None


def test_every_line_of_the_file_is_read_once() -> None:
    with FILE.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [field.name for field in dataclasses.fields(Published)]
    assert len(lines) == len(ROWS) == 289
    assert Counter((row.paper, row.table) for row in ROWS) == {
        ("scn-aaai2020", "table1"): 120,
        ("scn-aaai2020", "table2"): 36,
        ("scn-aaai2020", "table3"): 32,
        ("ms3conv", "table2"): 5,
        ("ms3conv", "table3"): 4,
        ("ms3conv", "table4"): 30,
        ("ms3conv", "supplement-table1"): 60,
        ("scn-replication-pratap", "table1"): 2,
    }


def test_no_figure_stands_twice() -> None:
    keys = Counter((row.paper, row.table, row.method, row.task, row.level, row.set, row.protocol) for row in ROWS)
    assert [key for key, times in keys.items() if times > 1] == []


def test_tasks_sets_and_protocols_are_those_of_the_project() -> None:
    assert {row.task for row in ROWS} == set(TASKS) == set(SETS)
    for task, sets in SETS.items():
        assert {row.set for row in ROWS if row.task == task} == sets
    catalogue = load_catalogue()
    for row in ROWS:
        assert row.protocol in {rule.name for rule in PROTOCOLS[row.task]}, row
        catalogue.resolve(row.set)
        colour = row.set == "DIV2K/validation" and row.paper != "ms3conv"
        assert (row.protocol == "sr-rgb-v1") == colour, row


def test_values_are_plausible() -> None:
    for row in ROWS:
        assert row.psnr is not None, row
        assert 23 < row.psnr < 38.5 or row.note.startswith("misprint"), row
        assert row.ssim is None or row.ssim8 is None, row
        assert all(0.65 < value < 1 for value in (row.ssim, row.ssim8) if value is not None), row
        assert (row.parameters is None) == (row.multiply_adds is None), row
        if row.parameters is not None and row.multiply_adds is not None:
            assert 1e4 < row.parameters < 5e7, row
            assert 1e9 < row.multiply_adds < 2e12, row
    assert [row.method for row in ROWS if row.note.startswith("misprint")] == ["BM3D"]


def test_every_paper_has_a_citation() -> None:
    for paper in {row.paper for row in ROWS}:
        assert any(year in citation(paper) for year in ("2020", "2024"))
    assert citation("scn-aaai2020") == "Fan, Yu, Liu, Huang: Scale-wise Convolution for Image Restoration, AAAI 2020"
    with pytest.raises(ValueError, match="'scn-aaai' is no known paper: did you mean 'scn-aaai2020'"):
        citation("scn-aaai")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            ("scn-aaai2020", "table1", "SCN+", "sr", 2, "Set14"),
            {"psnr": 34.14, "ssim": 0.9218, "protocol": "sr-y-v1", "training_data": "DIV2K (800 training images)"},
        ),
        (
            ("scn-aaai2020", "table1", "SRCNN", "sr", 3, "DIV2K/validation"),
            {"psnr": 29.64, "ssim": None, "protocol": "sr-rgb-v1", "parameters": None, "training_data": ""},
        ),
        (("scn-aaai2020", "table1", "EDSR", "sr", 4, "BSDS500/val"), {"psnr": 27.57, "ssim": 0.7357}),
        (("scn-aaai2020", "table2", "DnCNN", "dn", 50, "Urban100"), {"psnr": 26.28, "ssim": 0.7874}),
        (
            ("scn-aaai2020", "table2", "SCN", "dn", 25, "BSD68"),
            {"psnr": 29.31, "ssim": 0.8329, "training_data": "BSD (200 training and 200 test images)"},
        ),
        (("scn-aaai2020", "table3", "ARCNN", "car", 10, "LIVE1"), {"psnr": 28.98, "ssim": None, "ssim8": 0.8217}),
        (("scn-aaai2020", "table3", "SCN", "car", 40, "classic5"), {"psnr": 33.78, "ssim": 0.9022, "ssim8": None}),
        (
            ("ms3conv", "table3", "SRResNet-MS3-Conv, 2 branches", "sr", 4, "DIV2K/validation"),
            {"psnr": 30.30, "protocol": "sr-y-v1", "parameters": 510_000, "multiply_adds": 17_160_000_000},
        ),
        (
            ("ms3conv", "supplement-table1", "EDSR", "sr", 4, "Urban100"),
            {"psnr": 26.64, "ssim": 0.8033, "parameters": 43_090_000, "training_data": ""},
        ),
        (("scn-replication-pratap", "table1", "Adaptive", "sr", 2, "DIV2K/validation"), {"psnr": 31.83}),
    ],
)
def test_figures_are_as_printed(key: tuple[str, str, str, str, int, str], expected: dict[str, Any]) -> None:
    row = dataclasses.asdict(one(*key))
    assert {name: row[name] for name in expected} == expected


def test_nothing_is_published_for_what_the_papers_leave_out() -> None:
    assert published("sr", 5) == []
    assert published("deblurring", 2) == []
    assert published("sr", 2, "LIVE1") == []
    assert {row.paper for row in published("sr", 2, "Set14")} == {"scn-aaai2020"}


def test_rows_are_those_of_the_reference() -> None:
    wanted = {}
    for line in reference("published.csv"):
        window_8 = line["task"] == "car" and line["method"] in WINDOW_8
        assert window_8 == ("8x8" in line["note"])
        key = (
            line["table"],
            line["method"],
            line["task"],
            int(line["level"]),
            OURS.get(line["dataset"], line["dataset"]),
        )
        ssim = number(line["ssim"])
        wanted[key] = (number(line["psnr_db"]), None if window_8 else ssim, ssim if window_8 else None)
    ours = {
        (row.table, row.method, row.task, row.level, row.set): (row.psnr, row.ssim, row.ssim8)
        for row in ROWS
        if row.paper == "scn-aaai2020"
    }
    assert len(wanted) == 188
    assert ours == wanted


def test_rows_of_the_ms_conv_paper_are_those_of_the_reference() -> None:
    columns = {
        "set5": "Set5",
        "set14": "Set14",
        "bsd100": "BSDS500/val",
        "urban100": "Urban100",
        "div2k": OURS["DIV2K-valid"],
    }
    wanted: Counter[tuple[Any, ...]] = Counter()
    for line in reference("ms3conv.csv"):
        table = line["table"].replace("supp1", "supplement-table1")
        size = round(float(line["params"][:-1]) * {"K": 1e3, "M": 1e6}[line["params"][-1]])
        macs = round(float(line["flops_g"]) * 1e9)
        wanted.update((table, size, macs, own, float(line[name])) for name, own in columns.items() if line[name])
    ours = Counter(
        (row.table, row.parameters, row.multiply_adds, row.set, row.psnr) for row in ROWS if row.paper == "ms3conv"
    )
    assert wanted.total() == 99
    assert ours == wanted


def test_a_stronger_degradation_has_lower_figures() -> None:
    """So figures that were exchanged are found without the reference; the misprint is the one exception."""
    lines: dict[tuple[str, ...], list[Published]] = {}
    for row in ROWS:
        if not row.note.startswith("misprint"):
            lines.setdefault((row.paper, row.table, row.method, row.task, row.set), []).append(row)
    for line in lines.values():
        weakest_first = sorted(line, key=lambda row: row.level if row.task != "car" else -row.level)
        for figures in ([row.psnr for row in weakest_first], [row.ssim or row.ssim8 or 0.0 for row in weakest_first]):
            assert figures == sorted(figures, reverse=True), line[0]


@pytest.mark.parametrize("set_name", ["Set5", "Set14", "BSDS500/val", "Urban100"])
def test_tables_that_print_the_same_figure_agree(set_name: str) -> None:
    """The supplement's SRCNN and VDSR are those of SCN's table 1, and its CARN-MS3-Conv is that of table 4."""
    tables = [("scn-aaai2020", "table1"), ("ms3conv", "table4"), ("ms3conv", "supplement-table1")]
    for method, first in (("SRCNN", 0), ("VDSR", 0), ("CARN-MS3-Conv", 1)):
        ours, theirs = (one(*tables[at], method, "sr", 4, set_name) for at in (first, 2))
        assert ours.psnr == theirs.psnr
        assert ours.ssim in (None, theirs.ssim)
        assert ours.multiply_adds in (None, theirs.multiply_adds)


@pytest.mark.parametrize(
    ("table", "method", "architecture"),
    [
        ("table2", "SRResNet", {"name": "srresnet"}),
        ("table2", "SRResNet-MS-Conv", {"name": "srresnet", "conv": "ms"}),
        ("table2", "SRResNet-MS2-Conv w/o LH", {"name": "srresnet", "conv": "ms2-no-lh"}),
        ("table2", "SRResNet-MS2-Conv w/o HL", {"name": "srresnet", "conv": "ms2-no-hl"}),
        ("table2", "SRResNet-MS2-Conv", {"name": "srresnet", "conv": "ms2"}),
        ("table3", "SRResNet-MS3-Conv, 3 branches", {"name": "srresnet", "conv": "ms3", "branches": 3}),
        ("table4", "SRResNet-MS3-Conv", {"name": "srresnet", "conv": "ms3"}),
        ("table4", "SRResNet-MS3-Conv+", {"name": "srresnet", "conv": "ms3", "blocks": 46}),
        ("table4", "CARN", {"name": "carn"}),
        ("table4", "CARN-MS3-Conv", {"name": "carn", "conv": "ms3"}),
        ("table4", "CARN-MS3-Conv+", {"name": "carn", "conv": "ms3", "blocks": 8}),
        ("supplement-table1", "SRCNN", {"name": "srcnn", "channels": 1}),
        ("supplement-table1", "VDSR", {"name": "vdsr", "channels": 1}),
        ("supplement-table1", "EDSR", {"name": "edsr", "blocks": 32, "units": 256}),
    ],
)
def test_sizes_are_those_of_the_networks_that_are_built(table: str, method: str, architecture: dict[str, Any]) -> None:
    """To the last digit that is printed, which the paper rounds or cuts off; the supplement's EDSR has 0.002 % less."""
    set_name = "DIV2K/validation" if table in ("table2", "table3") else "Set5"
    row = one("ms3conv", table, method, "sr", 4, set_name)
    with torch.device("meta"):
        network = build({**architecture, "scale": 4})
    digit = 1_000 if table == "supplement-table1" else 10_000
    assert row.parameters is not None
    assert abs(row.parameters - sum(parameter.numel() for parameter in network.parameters())) < digit
    assert row.multiply_adds == pytest.approx(count_macs(network, 128, 128), rel=5e-5, abs=5e6)


def test_contradictions_within_a_paper_are_told() -> None:
    assert "29.97" in one("scn-aaai2020", "table2", "BM3D", "dn", 25, "Set12").note
    assert "30.45" in one("ms3conv", "table4", "SRResNet-MS3-Conv+", "sr", 4, "DIV2K/validation").note
    for set_name in ("Set5", "Set14", "BSDS500/val", "Urban100"):
        plus = [row for row in published("sr", 4, set_name) if row.method == "CARN-MS3-Conv+"]
        assert len({row.parameters for row in plus}) == len(plus) == 2
        assert all("another network" in row.note for row in plus)


def test_reading_them_needs_no_torch() -> None:
    program = (
        "import sys\n"
        "from scn.evaluation.published import published\n"
        "assert published('sr', 2)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
