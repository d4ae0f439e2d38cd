"""The tables of docs/stale.md: every change in them is made, and DVC is asked what it makes stale."""

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo
from workspace import ROOT, Workspace, published

from scn.config.data import DataConfig
from scn.config.params import load_params
from scn.config.run import RunConfig
from scn.config.train import TrainConfig
from scn.core import hashing
from scn.launch.plan import write_plan
from scn.networks import network_config

pytestmark = pytest.mark.integration

TASK = {"task": "sr", "level": 2, "data": {}, "model": {}, "train": {}}
CHANGES: Mapping[str, Any] = {
    "storage.url": "file://.scn/other",
    "storage.single_writer": True,
    "registry.latest_may_lose": 0.5,
    "registry.trusted": ["A" * 43 + "="],
    "registry.keep": 2,
    "collect.after_days": 2,
    "corpora.root": "elsewhere",
    "corpora.download": {"sample": "https://localhost/sample.zip"},
    "corpora.local": {"mine": "photographs"},
    "data.train": ["sample/evaluation"],
    "data.evaluation": ["sample/train"],
    "data.sub_image": 240,
    "data.stride": 120,
    "data.edges": "replicate",
    "data.levels": [2, 3],
    "data.unusable": "skip",
    "data.overlap": "leave_out",
    "data.encoding": "png",
    "data.png_level": 2,
    "data.shard_mib": 1,
    "data.min_shards": 3,
    "model.name": "edsr",
    "model.blocks": 2,
    "model.units": 8,
    "model.width": 3,
    "model.scales": 3,
    "model.ratio": 0.6,
    "model.kernel": {"kernel": 5, "scales": 3},
    "model.resampling": "pooling",
    "model.ends": "zero",
    "model.factorised": False,
    "model.shared": False,
    "model.initial": "authors",
    "model.weight_norm": False,
    "train.seed": 1,
    "train.batch_size": 2,
    "train.patch_size": 20,
    "train.patches_per_image": 5,
    "train.group_mib": 64,
    "train.epochs": 3,
    "train.max_steps": 3,
    "train.loss": {"mse": 1.0},
    "train.late_loss": {"mse": 1.0},
    "train.learning_rate": 0.5,
    "train.warmup_steps": 1,
    "train.schedule": "constant",
    "train.hold_epochs": 1,
    "train.halve_every_epochs": 3,
    "train.halve_every_steps": 5,
    "train.max_grad_norm": 1.0,
    "train.ema_decay": 0.9,
    "train.precision": "bfloat16",
    "train.lanes": 1,
    "train.threads": 1,
    "train.take_best_every": 5,
    "train.take_best_on": {"take_best_every": 5, "take_best_on": ["sample/evaluation"]},
    "run.workers": 2,
    "run.min_workers": 1,
    "run.batch_per_worker": 4,
    "run.use_gpu": False,
    "run.accumulate": 2,
    "run.channels_last": False,
    "run.compile": True,
    "run.cuda_graphs": False,
    "run.deterministic": True,
    "run.memory_mib": 100,
    "run.cache_mib": 100,
    "run.loader_workers": 2,
    "run.cluster_timeout_s": 1,
    "run.store_timeout_s": 1,
    "run.checkpoint_every": 3,
    "run.keep_checkpoints": 3,
    "run.validate_every": 3,
    "run.validate_on": ["sample/evaluation"],
    "run.log_every": 3,
    "start_from": {"sr-x2": "models/start"},
    "evaluate.precision": "bfloat16",
    "experiments.E.task": {"sr-x2": {**TASK, "task": "car", "level": 10}},
    "experiments.E.level": {"sr-x2": {**TASK, "level": 3}},
    "experiments.E.run": {"sr-x2": {**TASK, "run": {"workers": 1}}},
}
"""Key of params.yaml -> another value of it; for a key that can't be changed alone its section's values."""


def table(heading: str) -> dict[str, set[str]]:
    """The table below a heading of the page: first cell -> the stages in the second."""
    text = (ROOT / "docs" / "stale.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")][2:]
    stages = r"\b(download|index|start|shard|train|evaluate|publish|report)\b"
    return {cell: set() if told.startswith("nothing") else set(re.findall(stages, told)) for cell, told in rows}


def keys() -> dict[str, set[str]]:
    """Key of params.yaml, or a section with all its other keys -> the stages that the page calls stale."""
    return {
        key: stages for cell, stages in table("Keys of params.yaml").items() for key in re.findall("`([^`]+)`", cell)
    }


def files() -> dict[str, set[str]]:
    """File or folder -> the stages that the page calls stale."""
    return {path: stages for cell, stages in table("Code").items() for path in re.findall("`([^`]+)`", cell)}


def told(key: str) -> set[str]:
    """What the page says of a key, itself or as one of its section."""
    said = keys()
    return said[key] if key in said else said[key.partition(".")[0]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which sr-x2 and the report have been made; models/start holds weights to start from."""
    made = published(tmp_path_factory, "stale")
    # DVC loads the stages of all experiments each time.
    made.replace({"experiments": {name: {**TASK, "level": level} for name, level in (("sr-x2", 2), ("sr-x3", 3))}})
    made.run("dvc", "repro", "--single-item", "report")
    shutil.copytree(made.root / "models" / "sr-x2", made.root / "models" / "start")
    assert stale(made) == set()
    return made


SIGNIFICANT = cache(hashing.significant)  # most files are as they were the last time


def stale(workspace: Workspace, *, by_command: bool = False) -> set[str]:
    """The stages of sr-x2, and the others, that DVC calls stale once the plan is up to date.

    Args:
        by_command: whether `scn plan` writes the plan, instead of this process, which takes a tenth of the time and
            looks at the workspace's code in place of its own.
    """
    if by_command:
        workspace.run("scn", "plan", "--experiment", "sr-x2")
    else:
        with pytest.MonkeyPatch.context() as there:
            there.setattr(hashing, "PACKAGES", workspace.root)
            there.setattr("scn.networks.sources._ROOT", workspace.root)
            there.setattr(hashing, "significant", SIGNIFICANT)
            hashing._source_sha256.cache_clear()
            write_plan(load_params(workspace.root / "params.yaml"), "sr-x2")
    # As `dvc status` does, which takes a second to start.
    with warnings.catch_warnings(), chdir(workspace.root), Repo() as repo:
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own
        found = repo.status(targets=["publish@sr-x2"], with_deps=True) | repo.status(targets=["report"])
    return {stage.partition("@")[0] for stage in found if not stage.startswith(("plan@", "look@"))}


@contextmanager
def changed(workspace: Workspace, key: str) -> Iterator[None]:
    path = workspace.root / "params.yaml"
    before = path.read_text()
    section, _, name = key.partition(".")
    value = CHANGES[key]
    if key == "model.name":  # the keys of one network mean nothing to another
        workspace.replace({section: {name: value}})
    whole = section in ("start_from", "experiments") or (isinstance(value, dict) and name in value)
    workspace.change({section: value if whole else {name: value}})
    try:
        yield
    finally:
        path.write_text(before)


def test_shards_that_are_looked_at_again_make_no_grouped_training_stale(workspace: Workspace, tmp_path: Path) -> None:
    """Groups may be set when the shards are there: their order is told then, and not at the stage's next run."""
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(workspace.root, copy.root, symlinks=True)
    told = [(copy.root / "shards/sr-x2/train.sha256").read_text()]
    for section, values in (("train", {"group_mib": 64}), ("data", {"png_level": 2})):
        copy.change({section: values})
        # The stage's command, but without Ray, whose start takes ten times as long as all else.
        copy.run("data-prep", "shard", "--experiment", "sr-x2", "--out", "shards/sr-x2", "--workers", "0")
        told.append((copy.root / "shards/sr-x2/train.sha256").read_text())
    assert told[0] != told[1] == told[2]


def test_the_page_and_this_test_know_every_key() -> None:
    model = network_config({"name": "scn"}, "-")
    sections = {"data": DataConfig, "train": TrainConfig, "run": RunConfig, "model": type(model)}
    there = {f"{section}.{key}" for section, cls in sections.items() for key in cls.model_fields}
    there |= {key for key in CHANGES if key.partition(".")[0] not in sections}
    assert there == set(CHANGES)
    top = set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert {key.partition(".")[0] for key in CHANGES} == top == {key.partition(".")[0] for key in keys()}


@pytest.mark.parametrize("key", [key for key in CHANGES if told(key)])
def test_a_key_that_decides(workspace: Workspace, key: str) -> None:
    with changed(workspace, key):
        assert stale(workspace) == told(key)


def test_all_keys_that_decide_nothing(workspace: Workspace) -> None:
    before = (workspace.root / "params.yaml").read_text()
    deciding_nothing = [key for key in CHANGES if not told(key)]
    assert len(deciding_nothing) > len(RunConfig.model_fields)
    try:
        for key in deciding_nothing:
            section, _, name = key.partition(".")
            # Two workers have as many patches together as one by itself.
            workspace.change({section: {name: 2 if name == "batch_per_worker" else CHANGES[key]}})
        assert stale(workspace) == set()
    finally:
        (workspace.root / "params.yaml").write_text(before)


def test_where_validation_chooses_the_weights(workspace: Workspace) -> None:
    before = (workspace.root / "params.yaml").read_text()
    recipe = workspace.root / "plans/sr-x2/train/recipe.json"
    try:
        workspace.change({"train": {"take_best_every": 5}})
        assert stale(workspace) == {"train"}
        chosen = recipe.read_text()
        for section, values in {
            "evaluate": {"precision": "bfloat16"},
            "data": {"evaluation": ["sample/train"]},
        }.items():
            text = (workspace.root / "params.yaml").read_text()
            workspace.change({section: values})
            stale(workspace)
            assert recipe.read_text() != chosen, section
            (workspace.root / "params.yaml").write_text(text)
        stale(workspace)
        assert recipe.read_text() == chosen
    finally:
        (workspace.root / "params.yaml").write_text(before)


def test_the_weights_to_start_from_are_an_edge_of_the_graph(workspace: Workspace) -> None:
    """Other weights there make the training stale, and so does a start that is taken back."""
    with changed(workspace, "start_from"):
        edges = workspace.run("dvc", "dag", "--dot", "train@sr-x2").stdout
        assert re.search(r'"start@sr-x2" -> "train@sr-x2"', edges)
        workspace.run("scn", "plan", "--experiment", "sr-x2", "--start")
        assert stale(workspace) == {"start", "train"}
    assert stale(workspace) == set()


def test_a_model_that_is_to_be_trained_first_is(workspace: Workspace) -> None:
    before = (workspace.root / "params.yaml").read_text()
    try:
        workspace.change({"start_from": {"sr-x3": "models/sr-x2"}})
        edges = workspace.run("dvc", "dag", "--dot", "train@sr-x3").stdout
        assert re.search(r'"train@sr-x2" -> "start@sr-x3"', edges)
    finally:
        (workspace.root / "params.yaml").write_text(before)


@pytest.mark.parametrize(("section", "value"), [("experiments", {"sr-x7": {**TASK, "level": 7}})])
def test_what_is_added_makes_nothing_else_stale(workspace: Workspace, section: str, value: dict[str, Any]) -> None:
    """An experiment, a corpus, a preset and a network, all at once."""
    root, before = workspace.root, (workspace.root / "params.yaml").read_text()
    table_of_networks = root / "scn/networks/__init__.py"
    networks = table_of_networks.read_text()
    new = [root / "scn/networks/mine/config.py", root / "scn/config/presets/mine.yaml", root / "indexes/mine.json"]
    try:
        workspace.change({section: value, "corpora": {"local": {"mine": "photographs"}}})
        for path in new:
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}\n")
        table_of_networks.write_text(networks + '\nMINE = "a row"\n')
        assert stale(workspace, by_command=True) == {"index", "report"}  # of the new corpus, and of all experiments
    finally:
        table_of_networks.write_text(networks)
        (root / "params.yaml").write_text(before)
        for path in new:
            path.unlink()


def test_the_report_shows_the_experiments_and_studies_that_there_are(workspace: Workspace) -> None:
    root, before = workspace.root, (workspace.root / "params.yaml").read_text()
    study = root / "studies/mine"
    (study / "rows").mkdir(parents=True)
    try:
        (study / "rows/small-0.json").write_text("{}")
        assert stale(workspace) == set()
        (study / "result.json").write_text("{}")
        assert stale(workspace) == {"report"}
        shutil.rmtree(study)
        assert stale(workspace) == set()
        experiments = {name: {**TASK, "level": level} for name, level in (("sr-x3", 3), ("sr-x2", 2))}
        workspace.replace({"experiments": experiments})
        assert stale(workspace) == set(), "in another order"
        workspace.replace({"experiments": {"sr-x2": experiments["sr-x2"]}})
        assert stale(workspace) == {"report"}
    finally:
        shutil.rmtree(study, ignore_errors=True)
        (root / "params.yaml").write_text(before)


def _in(path: Path, folder: str) -> bool:
    return path.as_posix() == folder or path.as_posix().startswith(f"{folder}/")


def sources() -> dict[str, Path]:
    """Row of the page's second table -> the first Python file that it speaks of and that no longer one speaks of."""
    told_of = files()
    found: dict[str, Path] = {}
    for package in ("data_prep", "scn", "flows", "benchmarks"):
        for path in sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")):
            row = max((row for row in told_of if _in(path, row)), key=len, default=None)
            assert row is not None, f"docs/stale.md says nothing of {path}"
            found.setdefault(row, path)
    return found


def test_the_page_names_files_that_are_there() -> None:
    assert files().keys() - sources().keys() == {
        *("scn/corpora/catalogue.yaml", "scn/evaluation/published.csv", "tests", "docs"),
    }


@pytest.mark.parametrize("row", [row for row in sources() if files()[row]])
def test_code_that_decides(workspace: Workspace, row: str) -> None:
    path = workspace.root / sources()[row]
    before = path.read_text()
    try:
        path.write_text(before + "\nCHANGED = 1\n")
        assert stale(workspace) == files()[row]
    finally:
        path.write_text(before)


def test_the_command_plans_with_the_code_of_its_own_folder(workspace: Workspace) -> None:
    path = workspace.root / "scn/training/loop.py"
    before = path.read_text()
    try:
        path.write_text(before + "\nCHANGED = 1\n")
        assert stale(workspace, by_command=True) == {"train"}
    finally:
        path.write_text(before)


def test_code_and_comments_that_decide_nothing(workspace: Workspace) -> None:
    """A file of every other row, and a comment in every one that decides; but DVC itself compares some as they are."""
    before = {row: (workspace.root / path).read_text() for row, path in sources().items()}
    as_it_is = {"download", "report"}
    try:
        for row, path in sources().items():
            if not files()[row]:
                (workspace.root / path).write_text(before[row] + "\nCHANGED = 1\n")
            elif not files()[row] & as_it_is:
                (workspace.root / path).write_text(f"# a comment\n\n{before[row]}")
        assert stale(workspace, by_command=True) == set()
    finally:
        for row, path in sources().items():
            (workspace.root / path).write_text(before[row])
