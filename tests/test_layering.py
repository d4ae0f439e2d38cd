"""The imports that docs/design.md allows: flows -> data_prep, scn; a room of scn only those before it."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    *("core", "storage", "imaging", "networks", "config", "corpora", "shards", "data", "inference"),
    *("evaluation", "zoo", "registry", "serving", "training", "monitoring", "launch", "studies"),
)
"""The rooms of scn; each imports only those before it, and itself (docs/design.md)."""
FOR_DATA_PREPARATION = {"core", "storage", "imaging", "networks", "config", "corpora", "shards"}
"""Rooms that data_prep may enter."""
WITHOUT_TORCH = ("core", "storage", "imaging", "config", "corpora", "shards")
PIPELINES = {"scn.shards.pipeline", "scn.shards.pairs"}
"""Modules of scn.shards that import webdataset, and thus PyTorch."""
SHOWN = ("scn.monitoring.line", "scn.registry.summary", "scn.shards.summary")
"""Modules that make the texts that flows show on Prefect's page."""
TOP = {"__init__.py", "cli.py"}
"""The files that stand outside of the rooms."""
HEAVY = {"torch", "ray", "cv2", "prefect", "dvc", "dvclive", "boto3", "skimage", "matplotlib", "pandas", "webdataset"}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return files


def rooms_of(modules: set[str]) -> set[str]:
    """The rooms of scn that `modules` are in."""
    return {module.split(".")[1] for module in modules if module.startswith("scn.")}


def test_every_file_of_scn_stands_in_a_room() -> None:
    entries = {path.name for path in (ROOT / "scn").iterdir() if path.name not in ("__pycache__", "py.typed")}
    assert entries == TOP | set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_those_before_it(name: str) -> None:
    allowed = set(ROOMS[: ROOMS.index(name) + 1])
    for path in room(f"scn/{name}"):
        modules = imports(path)
        assert rooms_of(modules) <= allowed, path
        assert not {module for module in modules if module.split(".")[0] in ("data_prep", "flows")}, path


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_a_room_needs_no_torch(name: str) -> None:
    for path in room(f"scn/{name}"):
        if ".".join(path.relative_to(ROOT).with_suffix("").parts) not in PIPELINES:
            assert not {m for m in imports(path) if m.split(".")[0] in ("torch", "webdataset")}, path


def test_no_module_imports_itself_by_way_of_others() -> None:
    files = {
        path.relative_to(ROOT).with_suffix("") for package in ("scn", "data_prep", "flows") for path in room(package)
    }
    names = {".".join(path.parts).removesuffix(".__init__"): (ROOT / path).with_suffix(".py") for path in files}
    graph = {}
    for name, path in names.items():
        found = {module if module in names else module.rpartition(".")[0] for module in imports(path)}
        graph[name] = found & names.keys() - {name}
    assert list(TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_data_prep_enters_only_rooms_without_torch() -> None:
    for path in room("data_prep"):
        modules = imports(path)
        assert not {m for m in modules if m.split(".")[0] in ("torch", "flows", "prefect", "dvc")}, path
        assert rooms_of(modules) <= FOR_DATA_PREPARATION, path
        assert not {m for m in modules if m.startswith(("ray.train", *PIPELINES))}, path


def test_flows_hold_no_image_tensor_or_metric_code() -> None:
    for path in room("flows"):
        modules = imports(path)
        assert not {m for m in modules if m.split(".")[0] in ("torch", "numpy", "PIL", "ray", "boto3")}, path
        others = {m for m in modules if m.startswith(("scn.", "data_prep.")) and not m.startswith(SHOWN)}
        assert {m.split(".")[1] for m in others} <= {"config", "core"}, path


def test_files_are_short() -> None:
    for package in ("scn", "data_prep", "flows", "tests", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path


@pytest.mark.parametrize(
    "module", ["scn", "scn.cli", "data_prep.cli", "data_prep.shards", "scn.storage.base", "scn.shards"]
)
def test_heavy_packages_are_imported_where_they_are_used(module: str) -> None:
    """Otherwise `scn --help` and `data-prep --help` would not answer at once."""
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not HEAVY & set(loaded.stdout.split())


def test_what_computes_no_image_loads_no_pytorch() -> None:
    """Plan, report, gc, models list and the mailbox of a training: PyTorch takes longer than all else that they do."""
    modules = (
        "scn.launch.plan, scn.evaluation.page.page, scn.evaluation.for_dvc, scn.launch.collect, "
        "scn.registry.reference, scn.launch.messages"
    )
    program = f"import sys, {modules}; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout == "False\n"


def test_files_of_tests_have_names_of_their_own() -> None:
    """pytest imports them by their names alone: the second of a name is not collected."""
    names = sorted(
        path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in {"conftest.py", "__init__.py"}
    )
    assert [name for name, next_one in pairwise(names) if name == next_one] == []
