"""Running studies: the same bits after a kill, nothing made twice, the number of steps, and messages."""

import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from files_found import files_found
from typer.testing import CliRunner

from scn.cli import app
from scn.config.params import Params, load_params
from scn.core.errors import Stopped, UserError
from scn.core.hashing import digest
from scn.evaluation.code import evaluation_code
from scn.evaluation.runner import evaluate_stage
from scn.launch.stage import train_stage
from scn.studies.budget import steps_within
from scn.studies.declaration import load_study, parse_settings
from scn.studies.folder import open_folder
from scn.studies.records import Plan, Timing
from scn.studies.run import _outcome, run_study

Tiny = Callable[[str], list[str]]
TABLE = "scn-table4"
VARIANTS = ("unet", "pspnet", "scn")


def figures(folder: Path) -> dict[str, Any]:
    """The content of result.json without what a clock decides."""
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    for part in (content["provenance"], *content["rows"]):
        part.pop("seconds")
    return content


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, make_studied: Callable[[Path], Params], tiny: Tiny) -> Path:
    """The project of a study of three steps and a seed that is done: it takes seconds, a copy of it none."""
    params = make_studied(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as watching:
        names = trained(watching)
        folder = run_study(TABLE, params, steps=3, seeds=1, settings=tiny(TABLE))
    assert folder == params.root / "studies" / TABLE
    assert names == [f"{TABLE}-{variant}-0" for variant in VARIANTS]
    return params.root


@pytest.fixture
def done(studied: Params, finished: Path) -> Path:
    """The folder of that study in a project of the test's own, whose images are the same."""
    folder = studied.root / "studies" / TABLE
    shutil.copytree(finished / "studies" / TABLE, folder)
    params = folder / "params.yaml"  # the only file that names the project's folder
    params.write_text(params.read_text().replace(str(finished), str(studied.root)))
    return folder


def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all trainings from now on, as they begin."""
    names: list[str] = []

    def train(params: Params, name: str, **options: Any) -> None:
        names.append(name)
        train_stage(params, name, **options)

    monkeypatch.setattr("scn.studies.run.train_stage", train)
    return names


def test_what_is_finished_is_not_made_again(studied: Params, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = (done / "result.json").read_bytes()
    names = trained(monkeypatch)
    monkeypatch.setattr("scn.studies.run.measure", lambda *a, **k: pytest.fail("it was measured again"))
    run_study(TABLE, studied, seeds=1)
    assert names == []
    assert (done / "result.json").read_bytes() == first


def test_seeds_are_added(
    studied: Params, tiny: Tiny, done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = figures(done)
    names = trained(monkeypatch)
    run_study(TABLE, studied, seeds=2)
    assert f"{TABLE}: goes on with --set {' --set '.join(tiny(TABLE))}, as it was begun\n" in capsys.readouterr().out
    assert names == [f"{TABLE}-{variant}-1" for variant in VARIANTS]
    after = figures(done)
    assert [row for row in after["rows"] if row["seed"] == 0] == before["rows"]
    assert after["seeds"] == 2
    summary = after["variants"]["unet"]["sets"]["sample/evaluation"]
    assert summary["psnr"]["n"] == summary["difference"]["n"] == 2
    assert summary["psnr"]["std"] > 0
    run_study(TABLE, studied)
    assert figures(done) == after


def test_a_study_that_was_begun_before_seeds_were_kept_goes_on(studied: Params, done: Path) -> None:
    plan = json.loads((done / "plan.json").read_text())
    assert plan.pop("seeds") == 1
    (done / "plan.json").write_text(json.dumps(plan))
    before = figures(done)
    run_study(TABLE, studied, seeds=1)
    assert figures(done) == before
    assert json.loads((done / "plan.json").read_text())["seeds"] == 1


def test_a_row_says_in_what_it_was_trained(studied: Params, done: Path) -> None:
    result = json.loads((done / "result.json").read_text())
    (trained_in,) = {row["trained_in"] for row in result["rows"]}
    assert re.fullmatch(r"\S.*, (float32|bfloat16)", trained_in)
    path = done / "rows" / "unet-0.json"
    row = json.loads(path.read_text()) | {"trained_in": "another GPU, bfloat16"}
    path.write_text(json.dumps(row))
    run_study(TABLE, studied, seeds=1)
    told = f"Networks were trained in {' and '.join(sorted((trained_in, 'another GPU, bfloat16')))}: differences"
    assert told in (done / "README.md").read_text()


def test_a_node_of_a_cluster_with_other_packages_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.1")
    refused = _outcome({"torch": "1.0"}, lambda: pytest.fail("it was carried out"), ())
    assert isinstance(refused, UserError)
    assert " in place of 1.0: start all nodes from one image" in str(refused)


def test_a_damaged_model_is_trained_again(studied: Params, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures(done)
    (done / "models" / f"{TABLE}-scn-0" / "model.safetensors").unlink()
    names = trained(monkeypatch)
    run_study(TABLE, studied, seeds=1)
    assert names == [f"{TABLE}-scn-0"]
    assert figures(done) == before


def test_other_code_trains_everything_again(
    studied: Params, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as before:
        before.setattr("scn.training.identity.training_code", lambda experiment: "c" * 64)
        run_study(TABLE, studied, steps=2, seeds=1, settings=tiny(TABLE))
    names = trained(monkeypatch)
    run_study(TABLE, studied, seeds=1)
    assert len(names) == 3
    assert f"{TABLE}-unet-0: is trained again, as its recipe, images or code are others" in capsys.readouterr().out


def test_a_killed_study_ends_with_the_same_bits(studied: Params, tiny: Tiny, tmp_path: Path) -> None:
    steps, settings = 90, tiny(TABLE)
    whole = figures(run_study(TABLE, studied, steps=steps, seeds=1, settings=settings, out=tmp_path / "whole"))
    program = (
        "from pathlib import Path; from scn.config.params import load_params; from scn.studies.run import run_study; "
        f"run_study({TABLE!r}, load_params({str(studied.path)!r}), steps={steps}, seeds=1, settings={settings!r}, "
        f"out=Path({str(tmp_path / 'killed')!r}))"
    )
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    runs = tmp_path / "killed" / ".scn" / "runs" / f"{TABLE}-pspnet-0"
    while not files_found(runs, "step-*.pt"):  # the second of three has a checkpoint, and is not finished
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert (tmp_path / "killed" / "models" / f"{TABLE}-unet-0").is_dir()
    assert not (tmp_path / "killed" / "models" / f"{TABLE}-scn-0").exists()
    assert figures(run_study(TABLE, studied, seeds=1, out=tmp_path / "killed")) == whole


def test_a_stopped_study_says_so_and_goes_on(
    studied: Params, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(params: Params, name: str, **options: Any) -> None:
        train_stage(params, name, minutes=0, **options)

    with monkeypatch.context() as stopping:
        stopping.setattr("scn.studies.run.train_stage", stops)
        with pytest.raises(Stopped, match=f"{TABLE}-unet-0: stopped after step 1 of 20"):
            run_study(TABLE, studied, steps=20, seeds=1, settings=tiny(TABLE))
    run_study(TABLE, studied, seeds=1)
    assert f"{TABLE}-unet-0: goes on from step 1 of 20" in capsys.readouterr().out


def test_a_sweep_at_the_trainings_own_pyramid_is_the_plain_figure(studied: Params, tiny: Tiny) -> None:
    for name, key in (("scn-figure7", "scales"), ("scn-figure8", "ratio")):
        result = figures(run_study(name, studied, steps=8, seeds=1, settings=tiny(name)))
        for row in result["rows"]:
            own = result["variants"][row["variant"]]["model"][key]
            points = {point["value"]: point["sets"] for point in row["sweep"]}
            assert points[own] == row["sets"]
            others = [sets for value, sets in points.items() if value != own]
            assert any(sets != row["sets"] for sets in others), "another pyramid changes nothing"
        summaries = {p["value"]: p for p in result["variants"][row["variant"]]["sweep"]}
        assert [value for value, point in summaries.items() if point["trained"]] == [own]
        assert "difference" not in summaries[own]["sets"]["sample/evaluation"]


def test_figures_are_those_of_scn_evaluate(done: Path) -> None:
    row = figures(done)["rows"][0]
    evaluation = json.loads(evaluate_stage(load_params(done / "params.yaml"), f"{TABLE}-unet-0").read_text())
    measured = evaluation["sets"]["sample/evaluation"]["mean"]
    assert {"sr-rgb-v1": row["sets"], **row["further"]} == {
        rule: {"sample/evaluation": methods["model"]} for rule, methods in measured.items()
    }
    assert row["further"].keys() == {"sr-y-v1"}
    degraded = {rule: methods["input"] for rule, methods in measured.items()}
    assert figures(done)["input"] == {"sample/evaluation": degraded["sr-rgb-v1"]}


def test_the_code_that_measured_is_that_of_every_network(done: Path) -> None:
    code = {name: evaluation_code(name) for name in ("scn-unet", "scn-pspnet", "scn")}
    assert figures(done)["provenance"]["measuring_code_sha256"] == digest(code)


def test_an_image_that_the_protocol_can_not_measure_is_told(studied: Params, tiny: Tiny, small_project: Any) -> None:
    small_project.add_shards("sr-x2", {"small": np.full((24, 64, 3), 9, np.uint8)})
    with pytest.raises(UserError, match="sample/evaluation: an image is too small for sr-rgb-v1, by which scn-table4"):
        run_study(TABLE, studied, steps=1, seeds=1, settings=tiny(TABLE))


def test_minutes_become_steps_that_are_kept(studied: Params, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(0.0, 0.5)  # a step takes half a second, whatever else the machine does
    monkeypatch.setattr("scn.studies.budget.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    folder = run_study(TABLE, studied, minutes=0.5, seeds=2, settings=tiny(TABLE))
    plan = Plan.loads((folder / "plan.json").read_bytes(), folder, "")
    assert set(plan.timings) == {"unet", "pspnet", "scn"}
    assert plan.steps == steps_within(0.5, plan.timings, dict.fromkeys(plan.timings, 1.0), 2) == 9
    result = figures(folder)
    assert result["minutes"] == 0.5
    assert {row["steps"] for row in result["rows"]} == {plan.steps}
    run_study(TABLE, studied, seeds=1)
    assert Plan.loads((folder / "plan.json").read_bytes(), folder, "") == plan
    for options, message in (
        ({"minutes": 5.0}, r"begun with --minutes 0\.5 \(\d+ steps\): leave that out .*, or remove this one\.$"),
        ({"steps": plan.steps + 1}, rf"begun with {plan.steps} steps: leave that out"),
        ({"size": "paper"}, "begun as scn-table4, size small, on sr-x2: leave that out"),
        ({"settings": ["model.units=6"]}, "begun with other networks, recipes or images .*, or remove this one"),
    ):
        with pytest.raises(UserError, match=message):
            run_study(TABLE, studied, **options)  # type: ignore[arg-type]


def test_steps_within_minutes() -> None:
    timings = {"a": Timing(start=1, step=0.5), "b": Timing(start=2, step=1)}
    # 3 seeds: starts 9 s of 69 s; a step of both 1.5 s, of which b takes half as many
    assert steps_within(69 / 60, timings, {"a": 1, "b": 1}, 3) == 13
    assert steps_within(69 / 60, timings, {"a": 1, "b": 0.5}, 3) == 20
    with pytest.raises(
        UserError, match=r"2 variants with 3 seeds each don't do a step in 0\.1 minutes: they take 0\.23"
    ):
        steps_within(0.1, timings, {"a": 1, "b": 1}, 3)


def test_steps_are_those_of_the_schedule(studied: Params, tiny: Tiny) -> None:
    folder = run_study("replication-table1", studied, steps=8, seeds=2, settings=tiny("replication-table1"))
    params = load_params(folder / "params.yaml")
    for name, experiment in params.experiments.items():
        steps = 6 if "original-short" in name else 8
        train = experiment.train
        assert train.steps(2) == steps
        assert train.seed == int(name[-1])
        assert train.learning_rate_at(0, 2) == train.learning_rate
        assert train.learning_rate_at(steps // 2, 2) == pytest.approx(train.learning_rate / 2)
        assert train.learning_rate_at(steps - 1, 2) < 0.1 * train.learning_rate


@pytest.mark.parametrize(
    ("run", "settings", "parts"),
    [
        ({"workers": 4, "min_workers": 2}, [], 1),
        ({"workers": 4, "batch_per_worker": 4}, [], 1),
        ({"accumulate": 2}, [], 2),
        ({"accumulate": 4}, [], 2),  # of a batch of 2
        ({"accumulate": 2}, ["train.lanes=2"], 1),
        ({"accumulate": 2}, ["model.name=dncnn"], 1),  # with batch normalisation
    ],
)
def test_the_split_of_the_projects_batches_is_no_obstacle(
    studied: Params, tiny: Tiny, run: dict[str, Any], settings: list[str], parts: int
) -> None:
    studied.path.write_text(studied.path.read_text() + yaml.safe_dump({"run": run}))
    name = "scn-table5"
    given = parse_settings([*tiny(name)[:2], *settings])
    study = load_study(name)
    if "model.name" in given:
        plain = {about: variant.model_copy(update={"settings": {}}) for about, variant in study.variants.items()}
        study = study.model_copy(update={"variants": plain, "common": {}, "sizes": {"small": {}}})
    params = load_params(studied.path)
    folder = open_folder(study, params, studied.root / "studies" / name, "small", given, None)
    made = folder.write_params(1, 3).experiments
    assert {experiment.run.accumulate for experiment in made.values()} == {parts}
    assert {experiment.train.batch_size for experiment in made.values()} == {2}
    assert {experiment.run.workers for experiment in made.values()} == {1}


def test_a_study_knows_the_store_as_its_project_does(studied: Params, tiny: Tiny) -> None:
    text = studied.path.read_text().replace("url: file://store", "url: file://store\n  single_writer: true")
    studied.path.write_text(text)
    params, path = load_params(studied.path), studied.root / "studies" / TABLE
    made = open_folder(load_study(TABLE), params, path, "small", parse_settings(tiny(TABLE)), None).write_params(1, 1)
    assert made.storage.single_writer
    assert made.open_store().url == params.open_store().url


def test_missing_shards_are_told_with_the_command(studied: Params) -> None:
    (studied.root / "shards" / "sr-x2" / "train.json").unlink()
    with pytest.raises(UserError, match=r"scn-table4 uses the shards of sr-x2: .* `dvc repro shard@sr-x2`"):
        run_study(TABLE, studied, steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experiment": "sr-x4"}, "sr-x4 is no experiment of sr, level 2"),
        ({"experiment": "sr-x3"}, "'sr-x3' is no known experiment: did you mean"),
        ({"size": "papers"}, "--size: 'papers' is no known size of scn-table4: did you mean 'paper'"),
        ({"settings": ["data.stride=1"]}, "--set: 'data.stride' is no setting of a study: begin with model. or train."),
        ({"settings": ["train.seed=1"]}, "--set: 'train.seed' is no setting of a study, which gives all trainings"),
        ({"settings": ["train.batch=1"], "steps": 1}, r"variant unet, size small: 'batch' is no known key"),
        ({"minutes": math.nan}, "--minutes: nan is no time to train: give a number above 0"),
        ({"minutes": math.inf}, "--minutes: inf is no time to train"),
        ({"minutes": 0.0}, "--minutes: 0 is no time to train"),
        ({"minutes": 1.0, "steps": 1}, "--minutes and --steps both say how long"),
    ],
)
def test_mistakes(studied: Params, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_study(TABLE, studied, **options)
    assert not list((studied.root / "studies").glob("*/[!.]*"))


ON_RAY = """
import os, ray
from pathlib import Path
from scn.core.ray import patiently
start = lambda: ray.init(address="local", num_cpus=2, include_dashboard=False)
os.environ["RAY_ADDRESS"] = patiently(start).address_info["address"]
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.studies.run import run_study
os.chdir({root!r})
params = load_params("params.yaml")
run_study({study!r}, params, steps=5, seeds=1, settings={settings!r}, out=Path("there"))
try:
    run_study({study!r}, params, steps=5, seeds=1, settings=["train.patch_size=64"], out=Path("large"))
except UserError as error:
    print(error)
"""


@pytest.mark.integration
def test_trainings_on_ray_give_the_same_rows_and_messages(studied: Params, tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(TABLE)
    here = figures(run_study(TABLE, studied, steps=5, seeds=1, settings=settings, out=tmp_path / "here"))
    program = ON_RAY.format(root=str(studied.root), study=TABLE, settings=settings)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
    )
    assert re.search(rf"^\S*\(\w+ pid=\d+\)\S* {TABLE}-\w+-\d: trains on ", done.stdout, re.MULTILINE)  # as Ray says it
    assert not re.search(rf"^{TABLE}-\w+-\d: ", done.stdout, re.MULTILINE)
    assert figures(studied.root / "there")["rows"] == here["rows"]
    assert "\nThe image a is 64x64 pixels, smaller than a patch of 128x128: take it out" in done.stdout
    assert "Traceback" not in done.stderr
    assert "UserError" not in done.stderr


def test_the_command(studied: Params, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studied.root)
    run = CliRunner().invoke
    assert run(app, ["study"]).stdout.splitlines()[0].startswith("ms-conv-table1 ")
    settings = [word for setting in tiny(TABLE) for word in ("--set", setting)]
    done = run(app, ["study", TABLE, "--steps", "2", "--seeds", "1", *settings, "--out", "here"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "The study is in here/README.md"
    assert "goes on" not in done.stdout
    assert figures(Path("here"))["steps"] == 2
