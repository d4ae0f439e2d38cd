"""The benchmark of training, at a tiny size, measures what it says; no test depends on a time."""

import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import training
from scn.training.loop import Run

TINY = {"blocks": 1, "units": 4, "width": 2, "scales": 2}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        "SIZE": (2, 128, 160),
        "SMALL": (2, 128, 160),
        "LARGE": TINY,
        "DEMO": TINY,
        "MATRIX": {"cpu": 16},
        "TOGETHER": {"cpu": 2},
        "WORKERS": 0,
    }
    for name, value in {**sizes, "STEPS": 4, "WARM_UP": 2, "SECONDS": 0.01, "EVERY": 2}.items():
        monkeypatch.setattr(training, name, value)


def test_parts_print_tables_and_write_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    training.main(["--only", "throughput", "--runs", "2", "--json", str(result)])
    rows = json.loads(result.read_text())["rows"]
    assert [(row["part"], row["training"]) for row in rows][:2] == [
        ("throughput", "published"),
        ("throughput", "ours, float32"),
    ]
    assert rows[0]["times_as_fast"] == 1
    assert all(row["patches_per_s"] == pytest.approx(16 / row["step_ms"] * 1e3) for row in rows)
    assert len(capsys.readouterr().out.strip().splitlines()) == 2 + len(rows)


# A worker that was forked where other tests have left threads may end with 1 when all is done: that is not its subject.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_data_are_made_ahead_of_steps_that_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note, sample = tmp_path / "samples", training.PngPairs.__getitem__

    def noted(pairs: training.PngPairs, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        with note.open("a") as file:
            file.write(".")
        return sample(pairs, index)

    monkeypatch.setattr(training.PngPairs, "__getitem__", noted)
    monkeypatch.setattr(training, "WORKERS", 2)
    with training.project((2, 128, 160), TINY) as run:
        learner = training.PublishedLearner(run, torch.device("cpu"), together=3)
        for steps in (3, 6):
            training._repeat(learner.step, 3)
            time.sleep(0.5)  # what a worker would make meanwhile
            assert len(note.read_text()) == steps * run.experiment.train.batch_size


def test_the_race_is_drawn(tmp_path: Path) -> None:
    plot, result = tmp_path / "race.svg", tmp_path / "result.json"
    training.main(["--only", "convergence", "--plot", str(plot), "--json", str(result)])
    published, ours = json.loads(result.read_text())["rows"]
    assert published["db_at_start"] == ours["db_at_start"]  # the same weights
    assert published["db_at_end"] != published["db_at_start"]
    assert len(list(ET.parse(plot).getroot().iter("{http://www.w3.org/2000/svg}polyline"))) == 2


@pytest.mark.parametrize(("gpus", "ray", "rows"), [(0, True, 3), (1, True, 2), (2, True, 3), (1, False, 1)])
def test_workers_for_which_there_is_no_ray_or_no_gpu_are_left_out(
    monkeypatch: pytest.MonkeyPatch, gpus: int, ray: bool, rows: int
) -> None:
    monkeypatch.setattr(training, "find_spec", lambda name: ray or None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    started: list[int] = []

    def runs(run: Run, *others: Any) -> None:
        assert run.experiment.run.use_gpu == bool(gpus)
        started.append(run.experiment.run.workers)
        for clock in (each for each in others if isinstance(each, training._Clock)):
            clock.points = [(0, 0.0), (1, 1.0)]

    monkeypatch.setattr(training, "train", runs)
    monkeypatch.setattr(training, "train_with_ray", runs)
    found = training.workers(torch.device("cuda" if gpus else "cpu"), runs=1)
    assert [row["loop"] for row in found] == ["plain", "Ray Train, 1 worker", "Ray Train, 2 workers"][:rows]
    assert started == [1, 1, 2][:rows]


def test_parts_are_written_before_one_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*anything: object) -> list[Any]:
        raise RuntimeError("here")

    monkeypatch.setattr(training, "throughput", lambda device, runs: [{"step_ms": 1.0}])
    monkeypatch.setattr(training, "workers", fails)
    with pytest.raises(RuntimeError, match="here"):
        training.main(["--json", str(tmp_path / "result.json")])
    assert json.loads((tmp_path / "result.json").read_text())["rows"] == [{"part": "throughput", "step_ms": 1.0}]


def test_steps_per_second_begin_with_the_first_point() -> None:
    clock = training._Clock()
    clock.points = [(20, 100.0), (40, 105.0), (80, 110.0)]
    assert clock.steps_per_second() == 6
