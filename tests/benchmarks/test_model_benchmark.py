"""The benchmark of the network, at a tiny size, measures what it says; no test depends on a time."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import model
from benchmarks.published import Published
from scn.networks.build import build
from scn.networks.scn.network import SCN

TINY = {"name": "scn", "blocks": 2, "units": 4, "width": 2, "scales": 3, "scale": 2}


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_published_form_is_the_same_function(scale: int) -> None:
    network = build({**TINY, "scale": scale}, seed=0)
    assert isinstance(network, SCN)
    image = torch.rand(2, 3, 21, 34)
    with torch.inference_mode():
        torch.testing.assert_close(Published(network)(image), network(image), atol=1e-5, rtol=0)


def test_a_run_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_anew = model.Candidate("ours, weights in every call", "float32")
    eager = [model.BASELINE, made_anew, model.Candidate("ours", "float32")]
    sizes = {"SIDE": 24, "BATCH": 2, "PATCH": 12, "MATRIX": {"cpu": 16}, "ARCHITECTURE": TINY}
    for name, value in {**sizes, "candidates": lambda work, device: eager}.items():
        monkeypatch.setattr(model, name, value)
    monkeypatch.setattr(model, "peak_of_command", lambda *command: float(len(command)))
    model.main(["--json", str(tmp_path / "result.json"), "--runs", "2"])

    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [(row["work"], row["network"]) for row in rows] == [
        (work, form) for work in ("inference", "training step") for form in ("published", made_anew.form, "ours")
    ]
    assert [row["times_as_fast"] for row in rows if row["network"] == "published"] == [1, 1]
    assert all(row["difference"] < 1e-5 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)


def test_a_candidate_can_be_measured_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model, "SIDE", 256)
    monkeypatch.setattr(model, "ARCHITECTURE", {**TINY, "units": 16, "width": 4})
    model.main(["--peak", "inference", "published", "float32"])
    published = float(capsys.readouterr().out)
    assert 16 * 4 * 256 * 256 * 4 / 2**20 < published < 200  # the wide tensor is 16 MiB
