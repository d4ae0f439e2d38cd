"""The loop: what it computes, that it resumes bit for bit, and what it says when it can't go on."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from files_found import files_found
from safetensors.torch import save

from scn.config.params import Params, load_params
from scn.core.cpus import machine
from scn.core.errors import Stopped, UserError
from scn.launch.stage import train_stage
from scn.networks.build import build
from scn.shards.manifest import evaluation_manifest, training_manifest
from scn.storage import open_store
from scn.training.callbacks import Row, Silent
from scn.training.loop import History, Run, World, train

Project = Callable[..., Params]


def run_of(params: Params, name: str) -> Run:
    manifest, evaluation = training_manifest(params, name), evaluation_manifest(params, name)
    store, experiment = open_store(params.storage.url, params.root), params.experiment(name)
    return Run(experiment=experiment, manifest=manifest, evaluation=evaluation, store=store, root=params.root)


def weights(params: Params, name: str) -> bytes:
    return (params.root / "models" / name / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["sr-x2", "dn-s25", "car-q10"])
def test_training_lowers_the_loss(project: Project, name: str) -> None:
    rows: list[Row] = []
    run = run_of(project(name, epochs=6, learning_rate=3e-3), name)
    watching = Silent()
    watching.on_log = rows.append  # type: ignore[method-assign]
    train(run, World(), watching, lambda: "")
    assert [row["step"] for row in rows] == list(range(2, 91, 2))
    assert rows[-1]["learning_rate"] < rows[0]["learning_rate"] == 3e-3
    assert sum(r["loss"] for r in rows[-5:]) < 0.5 * sum(r["loss"] for r in rows[:5])
    assert all(0 < r["data_time"] < r["step_time"] for r in rows)


def test_the_stage_leaves_a_model_its_curves_and_no_checkpoints(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    params = project("sr-x2")
    train_stage(params, "sr-x2", plain=True)
    assert {p.name for p in (params.root / "models/sr-x2").iterdir()} == {"config.json", "model.safetensors"}
    loss = (params.root / "curves/sr-x2/plots/metrics/loss.tsv").read_text().splitlines()
    assert loss[0].split("\t") == ["step", "loss"]
    assert [int(line.split("\t")[0]) for line in loss[1:]] == list(range(2, 31, 2))
    assert open_store(params.storage.url, params.root).list("runs/") == []
    assert "30 steps" in capsys.readouterr().out


@pytest.mark.integration
def test_the_store_may_be_s3(project: Project, tmp_path: Path, s3_bucket: str) -> None:
    on_disk = project("sr-x2")
    train_stage(on_disk, "sr-x2", plain=True)
    on_s3 = project("sr-x2", root=tmp_path / "s3", storage=f"s3://{s3_bucket}/prefix")
    train_stage(on_s3, "sr-x2", plain=True)
    assert weights(on_s3, "sr-x2") == weights(on_disk, "sr-x2")
    assert open_store(on_s3.storage.url).list("runs/") == []
    keys = open_store(on_s3.storage.url).list("shards/")
    assert len([key for key in keys if key.endswith(".tar")]) == 2  # of training and of evaluation


@pytest.mark.integration
@pytest.mark.parametrize(
    ("bucket", "endpoint", "message"),
    [("no-such-bucket", None, "no-such-bucket"), ("any", "http://127.0.0.1:9", "127.0.0.1:9")],
)
def test_a_store_that_is_not_there_stops_the_stage_at_once(
    project: Project,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    bucket: str,
    endpoint: str | None,
    message: str,
) -> None:
    params = project("sr-x2")
    params.path.write_text(params.path.read_text().replace("file://store", f"s3://{bucket}/prefix"))
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(UserError, match=message) as error:
        train_stage(load_params(params.path), "sr-x2", plain=True)
    assert "\n" not in str(error.value)
    assert not (params.root / "models").exists()
    assert not (params.root / "curves").exists()


@pytest.mark.parametrize(("name", "group_mib"), [("sr-x2", None), ("dn-s25", 0.5)])
def test_a_run_killed_at_random_steps_ends_with_the_same_bits(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, group_mib: float | None
) -> None:
    """Promise 3: N steps = k steps, SIGKILL, N - k steps."""
    settings: dict[str, object] = {"epochs": 12, "group_mib": group_mib, "ema_decay": 0.9, "validate_every": 40}
    params = project(name, **settings)
    train_stage(params, name, plain=True)
    expected = weights(params, name)

    killed = project(name, root=tmp_path / "killed", **settings)
    command = [sys.executable, "-m", "scn.cli", "train", "-e", name, "--plain", "--params", str(killed.path)]
    folder, moment = killed.root / ".scn" / "runs" / name, random.Random()
    for _ in range(2):
        before = files_found(folder, "step-*")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            while not files_found(folder, "step-*") - before:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.005)
            time.sleep(moment.uniform(0, 0.3))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    assert not (killed.root / "models" / name).exists()

    capsys.readouterr()
    train_stage(killed, name, plain=True)
    assert "goes on from step" in capsys.readouterr().out
    assert weights(killed, name) == expected
    for curve in ("loss", "psnr_pictures-test"):
        mine, theirs = (root / f"curves/{name}/plots/metrics/{curve}.tsv" for root in (killed.root, params.root))
        assert mine.read_text() == theirs.read_text()
    assert not folder.exists() or not files_found(folder, "step-*")


@pytest.mark.parametrize("older", [False, True])
def test_what_was_told_before_is_told_at_once_when_a_run_goes_on(project: Project, older: bool) -> None:
    """Also from a checkpoint of older code, in which the rows are a list."""
    run, calls = run_of(project("sr-x2", epochs=1, hold_epochs=0), "sr-x2"), []
    with pytest.raises(Stopped):
        train(run, World(), Silent(), lambda: "asked")
    _, state = run.checkpoints.load() or pytest.fail("nothing was saved")
    names = ("step", "learning_rate", "loss", "grad_norm", "data_time", "step_time", "patches_per_second")
    for count in (10, 1000):
        rows: list[Row] = [dict.fromkeys(names, 0.1 + i / 3) for i in range(count)]
        columns = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in names}
        state["history"]["rows"] = rows if older else columns
        state["history"]["machines"] = ["one"]
        if older:
            del state["history"]["machines"]
        run.checkpoints.begin(anew=True)
        run.checkpoints.save(1, state)
        watching = Watching()
        train(run, World(), watching, lambda: "")
        assert watching.rows == rows
        calls.append(watching.calls)
        _, ended = run.checkpoints.load() or pytest.fail("nothing was saved")
        assert History.of(ended["history"]).rows[:-8] == rows
        assert ended["history"]["machines"] == ["a machine that was not noted" if older else "one", machine()]
        assert {values.dtype for values in ended["history"]["rows"].values()} == {torch.float64}
    assert calls[0] == calls[1] == {"on_resume": 1, "on_log": 8}


def test_points_of_code_that_noted_other_values_keep_what_each_has() -> None:
    theirs = {"step": [5.0, 10.0], "step_time": [1.0, 2.0], "energy": [7.0, 8.0]}
    rows = {name: torch.tensor(values, dtype=torch.float64) for name, values in theirs.items()}
    history = History.of({"rows": rows})
    history.add(loss=0.5, step_time=4.0)
    latest = history.point(15, 1e-3, 8)
    assert latest == {"step": 15, "learning_rate": 1e-3, "loss": 0.5, "step_time": 4.0, "patches_per_second": 2.0}
    earlier = [{"step": 5, "step_time": 1, "energy": 7}, {"step": 10, "step_time": 2, "energy": 8}]
    assert History.of(history.state()).rows == [*earlier, latest]


class Watching(Silent):
    def __init__(self) -> None:
        self.calls, self.rows = Counter[str](), list[Row]()

    def on_resume(self, step: int, rows: Sequence[Row]) -> None:
        self.calls["on_resume"] += 1
        self.rows += rows

    def on_log(self, row: Row) -> None:
        self.calls["on_log"] += 1


def test_a_loss_that_is_not_finite_stops_before_the_step(project: Project) -> None:
    run = run_of(project("sr-x2", learning_rate=1e30, epochs=1, hold_epochs=0), "sr-x2")
    sentence = r"The loss of sr-x2 is \S+ and its gradient \S+ in step \d+ at learning rate 1e\+30, on patches of train"
    with pytest.raises(UserError, match=rf"{sentence}.*; there is no checkpoint yet\.$"):
        train(run, World(), Silent(), lambda: "")


def test_the_checkpoint_of_the_weights_that_a_run_starts_from_is_told(project: Project) -> None:
    options: dict[str, Any] = {"learning_rate": 1e30, "epochs": 1, "hold_epochs": 0, "take_best_every": 5}
    run = replace(run_of(project("sr-x2", **options), "sr-x2"), start_sha256="5" * 64)
    run.store.put(run.start, save(build(run.experiment.architecture(), seed=1).state_dict()))
    with pytest.raises(UserError, match=r"^The loss of .* in step 1 at .*; the checkpoint of step 0 is kept\.$"):
        train(run, World(), Silent(), lambda: "")
    assert [name.step for name in run.checkpoints._here.names()] == [0]


def test_a_manifest_of_another_experiment_is_refused(project: Project) -> None:
    params = project("sr-x2")
    text = params.path.read_text().replace("level: 2\n", "level: 3\n")
    params.path.write_text(text)
    with pytest.raises(
        UserError, match=r"of sr-x2 \(sr, level 2\), not of sr-x2 \(sr, level 3\): run `dvc repro shard@sr-x2`"
    ):
        train_stage(load_params(params.path), "sr-x2", plain=True)


def test_plain_means_one_process(project: Project) -> None:
    params = project("sr-x2", workers=2)
    with pytest.raises(UserError, match=r"set run\.workers to 1, not 2"):
        train_stage(params, "sr-x2", plain=True)


def test_a_gpu_that_is_missing_is_said(project: Project) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match=r"run\.use_gpu is true but"):
        train_stage(project("sr-x2", use_gpu=True), "sr-x2", plain=True)
