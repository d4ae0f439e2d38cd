"""The benchmark of the models that ship: what it measures, and on which sizes."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import shipped
from scn.inference.model_files import save_model
from scn.networks.build import build


@pytest.fixture
def two_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.zoo.FOLDER", tmp_path / "zoo")
    for name, task, level, scale, channels in (("dn-s25", "dn", 25, 1, 1), ("sr-x2", "sr", 2, 2, 3)):
        architecture = {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2}
        architecture |= {"channels": channels, "scale": scale}
        folder = tmp_path / "zoo" / name
        save_model(folder, build(architecture, 0), architecture, {"experiment": name, "task": task, "level": level})
        (folder / "manifest.json").write_text(json.dumps({}))


@pytest.mark.usefixtures("two_ship")
def test_every_way_makes_a_result_of_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    ways = shipped.ways(["dn-s25", "sr-x2"], 32)
    assert {"dn-s25, float32", "sr-x2, float32", shipped.BICUBIC} <= set(ways)
    for call in ways.values():
        result = call()
        assert (result if isinstance(result, np.ndarray) else result.pixels).shape == (32, 32, 1)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("two_ship")
def test_a_row_says_what_a_megapixel_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    monkeypatch.setattr(shipped, "peak_of_command", lambda *arguments: float(len(arguments)))
    rows = {row["way"]: row for row in shipped.rows(["dn-s25"], 32, 1, ["--side", "32"])}
    row = rows["dn-s25, float32"]
    weights = Path(shipped.zoo.FOLDER / "dn-s25" / "model.safetensors").stat().st_size
    assert (row["weights_mb"], row["peak_mib"], row["over_bm3d"]) == (weights / 1e6, 5.0, None)
    assert row["s_per_mp"] > 0  # type: ignore[operator]
    assert rows[shipped.BICUBIC]["weights_mb"] is None
