"""The benchmark of precisions asks for what it says, of the experiments that were trained."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import scn.inference.precision
from benchmarks import precision
from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.evaluation.measuring import Measured
from scn.evaluation.results import ImageResult
from scn.inference.records import Figures

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def test_what_bfloat16_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measured_sets(experiment: Experiment, *inputs: Any) -> list[tuple[str, list[Measured]]]:
        native = scn.inference.precision.has_bfloat16(torch.device("cpu"))
        asked.append((experiment.name, experiment.evaluate.precision, native))
        figures = Figures(psnr={"float32": 33.3, "bfloat16": 33.296}[experiment.evaluate.precision], ssim=0.9)
        image = ImageResult(name="baby", height=9, width=9, figures={"dn-grey-v1": {"model": figures}})
        return [("Set5", [Measured(result=image, pictures={})])]

    shutil.copy(PARAMS, tmp_path / "params.yaml")
    (tmp_path / "models" / "dn-s25").mkdir(parents=True)
    monkeypatch.setattr(precision, "measured_sets", measured_sets)
    monkeypatch.setattr(precision, "restorer", lambda experiment, network: None)
    monkeypatch.setattr(precision, "load_model", lambda folder: (SimpleNamespace(), {}))
    monkeypatch.setattr(precision, "evaluation_manifest", lambda params, name: None)
    precision.main(["--params", str(tmp_path / "params.yaml"), "--json", str(tmp_path / "result.json")])

    assert asked == [("dn-s25", "float32", True), ("dn-s25", "bfloat16", True)]
    (row,) = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert row["lost_db"] == pytest.approx(0.004)
    assert "33.2960" in capsys.readouterr().out


def test_nothing_trained_is_said(tmp_path: Path) -> None:
    shutil.copy(PARAMS, tmp_path / "params.yaml")
    with pytest.raises(UserError, match=r"No experiment of .* has been trained"):
        precision.main(["--params", str(tmp_path / "params.yaml")])
