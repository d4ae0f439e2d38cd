"""docs/gpu-runs.md: its commands exist, its arithmetic is right, and its tool runs where little is installed."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import data_prep.cli
import scn.cli
from scn.config.params import Params, load_params
from scn.config.presets import apply_preset
from scn.networks.profile import count_macs

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "gpu-runs.md").read_text()
TFLOPS = {32: 80, 64: 200}
LAUNCHES = {8: 0.015, 16: 0.030, 64: 0.120}
"""Number of blocks -> seconds per step for launching kernels."""


@pytest.fixture
def params(tmp_path: Path) -> Callable[[str], Params]:
    def apply(preset: str) -> Params:
        path = tmp_path / "params.yaml"
        path.write_text((ROOT / "params.yaml").read_text())
        apply_preset(preset, path)
        return load_params(path)

    return apply


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in re.findall(r"^    ((?:scn|data-prep) .*)$", text, re.M)]


def rows(text: str) -> Iterator[list[str]]:
    """Yields the cells of each row of the document's tables that describes a run."""
    for line in text.splitlines():
        if re.match(r"\| \d", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    "words",
    [words for file in ("gpu-runs", "recipes") for words in commands((ROOT / "docs" / f"{file}.md").read_text())]
    + commands((ROOT / "scn" / "zoo" / "README.md").read_text()),
    ids=" ".join,
)
def test_every_command_exists(params: Callable[[str], Params], words: list[str]) -> None:
    apps = {"scn": scn.cli.app, "data-prep": data_prep.cli.app}
    command: Any = typer.main.get_command(apps[words[0]])
    rest = words[1:]
    while commands_of := getattr(command, "commands", None):
        command = commands_of[rest.pop(0)]
    given = command.make_context(words[0], rest).params  # UsageError for an option that there is not
    if "experiment" in given:
        asked = given["experiment"] if isinstance(given["experiment"], list | tuple) else [given["experiment"]]
        assert set(asked) <= params("gpu").experiments.keys()
    if command.name == "download":
        known = yaml.safe_load((ROOT / "scn" / "corpora" / "catalogue.yaml").read_text())["corpora"]
        for corpus, _, split in (name.partition("/") for name in given["names"]):
            assert corpus in known
            assert not split or split in known[corpus]["splits"]


@pytest.mark.parametrize(("heading", "preset"), [("First", "gpu"), ("Then: the SCN paper", "modern")])
def test_the_arithmetic(params: Callable[[str], Params], heading: str, preset: str) -> None:
    section = re.search(rf"^## {heading}.*?(?=^## )", DOCUMENT, re.M | re.S)
    assert section
    found = list(rows(section[0]))
    assert len(found) == {"gpu": 10, "modern": 5}[preset]
    experiments = params(preset).experiments
    for _, names, steps, size, macs, estimate, *more in found:
        experiment = experiments[re.split(r"[ ,]", names)[0]]
        train, model = experiment.train, experiment.model
        assert steps == f"{train.steps(91):,}"
        assert size == f"{train.batch_size} x {train.patch_size}"
        number, unit = macs.split()
        per_step = float(number) * {"G": 1e9, "T": 1e12}[unit]
        if preset == "gpu" and names == "dn-s25":  # counting takes seconds
            counted = train.batch_size * count_macs(experiment.architecture(), train.patch_size, train.patch_size)
            assert per_step == pytest.approx(counted, rel=0.01), names
        seconds = max(6 * per_step / (TFLOPS[model.units] * 1e12), LAUNCHES[model.blocks]) * train.steps(91)
        number, unit = estimate.split()[:2]
        assert float(number) * {"min": 60, "h": 3600}[unit] == pytest.approx(seconds, rel=0.05), names
        if preset == "gpu":
            assert int(more[0]) == -(-seconds // (8.5 * 60))


@pytest.mark.parametrize(("file", "preset", "count"), [("gpu-runs", "modern", 9), ("recipes", "ms-conv", 3)])
def test_experiments_of_ones_own(
    params: Callable[[str], Params], tmp_path: Path, file: str, preset: str, count: int
) -> None:
    """The documents ask readers to put these rows under `experiments`; each must be accepted."""
    text = (ROOT / "docs" / f"{file}.md").read_text()
    lines = re.findall(r"^ +((?:sr|dn|car)-[\w-]+: [&{].*\n)", text, re.M)
    shipped = params(preset).experiments.keys()
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text() + "".join(f"  {line}" for line in lines))
    own = [experiment for name, experiment in load_params(path).experiments.items() if name not in shipped]
    assert len(own) == len({str(experiment.architecture()) for experiment in own}) == count
    assert all(experiment.data.train == ["DIV2K/train"] for experiment in own)


FINDER = """
import importlib.machinery, shutil, sys

class Little(importlib.machinery.PathFinder):
    missing = {"ray", "prefect", "dvc", "webdataset", "boto3", "botocore", "tensorboard", "tensorboardX"}
    missing |= {"pyarrow", "scipy", "skimage", "pandas", "requests", "ruamel", "data_prep", "flows", "benchmarks"}
    missing |= {"cryptography"}
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in cls.missing:
            return super().find_spec(name, path, target)

sys.meta_path[:] = [Little if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""
LITTLE = f"""{FINDER}
from pathlib import Path

import scn.zoo
from scn.cli import main

scn.zoo.FOLDER = Path("zoo").absolute()

def run(*arguments):
    sys.argv = ["scn", *arguments]
    try:
        main()
    except SystemExit as end:
        print("status", end.code or 0, flush=True)
        return end.code or 0

train = ["train", "-e", "dn-s25", "--plain", "--minutes", "0"]
train += ["--set", "train.max_steps=3", "--set", "train.batch_size=2", "--set", "train.patch_size=16"]
while run(*train) == 75:
    shutil.rmtree(".scn/runs")  # what the document does not tell to carry to the next machine
Little.missing.remove("webdataset")  # the document names it for these two
run("evaluate", "-e", "dn-s25")
run("ensemble", "-e", "dn-s25")
Little.missing.add("webdataset")
for name in [name for name in sys.modules if name.partition(".")[0] == "webdataset"]:
    del sys.modules[name]
run("models", "land", "dn-s25")
run("models", "list")
"""


def test_slices_need_neither_ray_nor_dvc(small_project: Any, photograph: Callable[..., Any]) -> None:
    """They need only what the document names; every slice of the run is as short as it can be here."""
    small_project.add_shards("dn-s25", {"a": photograph(40, 48, 1)[..., 0], "b": photograph(48, 40, 1)[..., 0]})
    run = subprocess.run(
        [sys.executable, "-c", LITTLE],
        cwd=small_project.root,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    codes = [int(code) for code in re.findall(r"^status (\d+)$", run.stdout, re.M)]
    assert codes[-5:] == [0, 0, 0, 0, 0], run.stdout + run.stderr
    assert codes[:-5] == [75] * len(codes[:-5])
    assert len(codes) >= 7, run.stdout  # at least two slices were not the last
    assert (small_project.root / "zoo" / "dn-s25" / "curves.csv").read_text().splitlines()[-1].startswith("3,")


COLLECTED = f"""{FINDER}
import pytest

Little.missing -= {{"data_prep", "benchmarks"}}
Little.missing |= {{"moto", "werkzeug", "uvicorn", "playwright"}}
pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", *sys.argv[1:]])
"""


def test_the_tests_that_need_a_gpu_can_be_collected_where_little_is_installed() -> None:
    (line,) = re.findall(r"^    python -m pytest (.*)$", DOCUMENT, re.M)
    arguments = shlex.split(line)
    marked = {path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark." + "gpu" in path.read_text()}
    assert {ROOT / name for name in arguments[2:]} == marked
    command = [sys.executable, "-c", COLLECTED, *arguments]
    run = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True)
    assert {line.partition("::")[0] for line in run.stdout.splitlines() if "::" in line} == set(arguments[2:]), (
        run.stdout
    )
    assert "error" not in run.stdout
