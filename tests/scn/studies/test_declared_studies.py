"""The studies that ship: they declare what the papers print, and run from end to end with tiny networks."""

import csv
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from scn.config.params import Params, load_params
from scn.networks.build import build_on_meta
from scn.studies.declaration import load_study, study_names
from scn.studies.records import Result
from scn.studies.run import run_study

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
NAMES = [
    *(f"ms-conv-table{i}" for i in (1, 2, 3)),
    "replication-table1",
    *(f"scn-figure{i}" for i in (6, 7, 8)),
    *(f"scn-table{i}" for i in (4, 5, 6)),
]


def test_all_tables_and_figures_are_declared() -> None:
    assert study_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_study_runs(name: str, studied: Params, tiny: Callable[[str], list[str]]) -> None:
    folder = run_study(name, studied, steps=4, seeds=1, settings=tiny(name))
    study = load_study(name)
    assert folder == studied.root / "studies" / name
    result = Result.loads((folder / "result.json").read_bytes(), folder, "")
    assert [row.variant for row in result.rows] == list(study.variants) == list(result.variants)
    assert [row.steps for row in result.rows] == [round(4 * about.share) for about in study.variants.values()]
    alike = name == "scn-table5"  # Un-shared and Un-shared Large, as all have the same number of units here
    assert len({row.weights_sha256 for row in result.rows}) == len(result.rows) - alike
    for row in result.rows:
        assert row.sets["sample/evaluation"].psnr > 5
        assert [point.value for point in row.sweep] == (list(study.sweep.values) if study.sweep else [])
    page = (folder / "README.md").read_text()
    for about in study.variants.values():
        assert f"| {about.title} " in page
        assert all(f"| {figure:.2f} " in page for figure in about.printed.values())
    if name == "scn-table5":  # of an un-shared pyramid, what reaches no output is not counted
        model = load_params(folder / "params.yaml").experiment("scn-table5-unshared-0").architecture()
        weights = list(build_on_meta(model).parameters())
        trained = sum(weight.numel() for weight in weights if weight.requires_grad)
        assert result.variants["unshared"].parameters == trained < sum(weight.numel() for weight in weights)
    assert ET.parse(folder / "plot.svg").getroot().tag.endswith("svg")
    assert not (studied.root / "models").exists()
    assert not list((studied.root / "store" / "runs").rglob("*.pt"))


@cache
def parameters(name: str, size: str) -> dict[str, int]:
    """Variant -> the number of its parameters that are trained."""
    study = load_study(name)
    found = {}
    for variant in study.variants:
        model = study.sections(variant, size)["model"]
        network = build_on_meta({**model, "channels": 3, "scale": study.level})
        found[variant] = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    return found


def test_at_the_papers_size_networks_have_the_printed_parameters() -> None:
    for name in NAMES:
        variants = load_study(name).variants
        counts = parameters(name, "paper") if any(about.printed_parameters for about in variants.values()) else {}
        for variant, about in variants.items():
            if about.printed_parameters:
                millions = counts[variant] / 1e6
                printed = float(about.printed_parameters.removesuffix(" M"))
                # The MS-Conv paper cuts some of its figures off
                assert millions == pytest.approx(printed, abs=0.051 if name == "scn-table5" else 0.0101), variant


@pytest.mark.parametrize("size", ["small", "paper"])
def test_what_is_said_to_have_as_many_parameters_has(size: str) -> None:
    for name, equal in (("scn-table4", ("unet", "pspnet")), ("scn-table5", ("baseline", "unshared"))):
        counts, reference = parameters(name, size), load_study(name).reference
        assert "within 3 %" in load_study(name).equal
        assert all(abs(counts[variant] / counts[reference] - 1) <= 0.03 for variant in equal), counts
    assert counts["unshared-large"] / counts["shared"] == pytest.approx(1.75, abs=0.02)
    counts = parameters("scn-table6", size)
    assert counts["pooling"] == counts["bilinear"]
    assert 1.08 <= counts["strided"] / counts["bilinear"] <= 1.085


@pytest.mark.parametrize("size", ["small", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_every_scale_of_the_training_reaches_the_result(name: str, size: str) -> None:
    """A block takes what a scale knows one scale up: with fewer blocks the coarsest scales would do nothing."""
    study = load_study(name)
    for variant in study.variants:
        model = study.sections(variant, size)["model"]
        if "ratio" in model:
            assert model["scales"] <= model["blocks"] + 1, variant


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference figures are not on this machine")
def test_printed_figures_are_those_of_the_reference() -> None:
    def rows(file: str) -> list[dict[str, str]]:
        return list(csv.DictReader((REFERENCE / file).read_text().splitlines()))

    expected: dict[str, list[float]] = {}
    for row in rows("ablations_scn.csv"):
        if row["psnr_db"]:
            expected.setdefault(f"scn-{row['table']}", []).append(float(row["psnr_db"]))
    for row in rows("ms3conv.csv"):
        if row["table"] in ("table2", "table3"):
            expected.setdefault(f"ms-conv-{row['table']}", []).append(float(row["div2k"]))
    expected["ms-conv-table1"] = [float(row["bsd100_psnr_db"]) for row in rows("ms3conv_pilot.csv")]
    div2k = rows("scalewise_replication.csv")[0]
    expected["replication-table1"] = [float(div2k["adaptive"]), float(div2k["original"])]
    # 10 + 20 epochs, three quarters of the adaptive network's
    assert load_study("replication-table1").variants["original-short"].printed["DIV2K/validation"] == 31.28
    expected["scn-figure6"] = [34.74]
    declared = {name: [f for v in load_study(name).variants.values() for f in v.printed.values()] for name in NAMES}
    assert {name: figures for name, figures in declared.items() if figures} == expected
