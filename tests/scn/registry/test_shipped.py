"""Models that ship are measured again, and a digit that differs is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import scn.zoo
from scn.cli import app
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.evaluation.compare import Measurement, Options, compare
from scn.evaluation.runs import read_shipped
from scn.inference.records import Figures
from scn.registry import shipped
from scn.registry.land import land
from scn.registry.shipped import Checked, check_shipped

NAME, SET = "dn-s25", "sample/evaluation"
SHIPPED = {path.parent.name: path.parent for path in sorted(scn.zoo.FOLDER.glob("*/manifest.json"))}
"""The models of this checkout, as fixtures put another folder in the place of the zoo's."""


@pytest.fixture
def project(small_project: Any) -> Any:
    """A project with a model that has landed, and with its evaluation set; its figures are invented ones."""
    folder = small_project.root / "photographs" / "evaluation"
    folder.mkdir(parents=True)
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    small_project.add_model(NAME)
    small_project.add_metrics(NAME)
    land(small_project.params, NAME)
    return small_project


def keep(project: Any, found: list[Checked], psnr_more: float = 0.0) -> None:
    """Lands the model again with the figures that were found."""
    path: Path = project.add_metrics(NAME)
    document = json.loads(path.read_text())
    [figures] = document["sets"][SET]["mean"].values()
    for each in found:
        about = {"psnr": round(each.found.psnr + psnr_more, 4), "ssim": round(each.found.ssim, 4)}
        figures["ensemble" if each.self_ensemble else "model"] = about
    path.write_text(json.dumps(document))
    land(project.params, NAME)


def test_figures_that_were_measured_are_found_again_and_others_are_not(project: Any) -> None:
    found = list(check_shipped(project.params, self_ensemble=True))
    assert [(each.name, each.set, each.self_ensemble) for each in found] == [(NAME, SET, False), (NAME, SET, True)]
    assert [each.kept.psnr for each in found] == [31.5, 31.75]
    assert not any(each.agrees for each in found)
    keep(project, found)
    assert all(each.agrees for each in check_shipped(project.params, [NAME], [SET], self_ensemble=True))
    keep(project, found, psnr_more=0.002)
    assert [each.agrees for each in check_shipped(project.params)] == [False]


@pytest.mark.parametrize(("psnr", "ssim", "agrees"), [(0.001, 0.0001, True), (0.002, 0, False), (0, 0.0002, False)])
def test_digits_are_compared(psnr: float, ssim: float, agrees: bool) -> None:
    kept, found = Figures(psnr=30.0, ssim=0.8), Figures(psnr=30.0 + psnr, ssim=0.8 + ssim)
    assert Checked(name=NAME, set=SET, self_ensemble=False, kept=kept, found=found).agrees is agrees


def test_the_command_ends_with_status_1_where_a_figure_differs(project: Any) -> None:
    arguments = ["models", "check", "--params", str(project.params.path)]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("1 of 1 figures differ from those that ship")
    assert "| NO " in result.stdout
    keep(project, list(check_shipped(project.params)))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "| yes " in result.stdout


@pytest.mark.parametrize(
    ("names", "sets", "message"),
    [
        (["dn-s99"], [], "^dn-s99 does not ship: name one of dn-s25"),
        ([], [SET, "Sett5"], "^--set: none of \\S+( \\S+)* was measured on Sett5"),
    ],
)
def test_what_can_not_be_measured_is_told_before_anything_is(
    project: Any, names: list[str], sets: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        next(check_shipped(project.params, names, sets))


def test_what_was_measured_before_a_set_was_missing_is_printed(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, options: Options, **about: Any) -> list[Measurement]:
        if options.self_ensemble:
            raise UserError("A set is missing.")
        return compare(*_, options=options, **about)

    monkeypatch.setattr(shipped, "compare", missing)
    result = CliRunner().invoke(app, ["models", "check", "--self-ensemble", "--params", str(project.params.path)])
    assert isinstance(result.exception, UserError)
    assert "| NO " in result.stdout


def test_figures_of_another_precision_are_not_compared(project: Any) -> None:
    path = scn.zoo.FOLDER / NAME / "metrics.json"
    text = path.read_text().replace('"provenance": {', '"provenance": {\n  "precision": "bfloat16",')
    path.write_text(text)
    manifest = path.with_name("manifest.json")
    document = json.loads(manifest.read_text())
    document["files"]["metrics.json"] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    manifest.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"evaluate.precision of dn-s25 is float32, but .* measured in bfloat16"):
        list(check_shipped(project.params))


@pytest.mark.parametrize("task", ["dn", "car", "sr"])
def test_a_model_of_each_task_reaches_the_figures_that_it_ships_with(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the photographs that scikit-image carries; `make verify-zoo` measures all models on all their sets."""
    measured = [name for name in SHIPPED if SET in read_shipped(SHIPPED[name]).evaluation.sets]
    name = next((name for name in measured if name.startswith(task)), None)
    if name is None:
        pytest.skip(f"no model for {task} that was measured on {SET} ships yet")
    monkeypatch.setattr("scn.zoo.FOLDER", SHIPPED[name].parent)
    params = load_params(Path(__file__).parents[3] / "params.yaml")
    [checked] = check_shipped(params, [name], [SET])
    assert checked.agrees, checked.cells()
