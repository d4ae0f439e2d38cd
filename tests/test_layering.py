"""Who may import whom (docs/design.md): flows -> data_prep, scn; data_prep -> the ground floor of scn."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GROUND_FLOOR = {
    *("cluster", "config", "degradation", "errors", "files", "manifest", "networks", "provenance", "samples"),
    *("recipe", "schema", "settings", "storage", "storage_s3", "tasks"),
}
HEAVY = {"torch", "ray", "prefect", "dvc", "dvclive", "boto3", "skimage", "matplotlib", "pandas", "webdataset"}


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


def test_scn_imports_neither_data_prep_nor_flows() -> None:
    for path in room("scn"):
        assert not {m for m in imports(path) if m.split(".")[0] in ("data_prep", "flows")}, path


def test_data_prep_stands_on_the_ground_floor_of_scn() -> None:
    rooms = [ROOT / "scn" / name for name in GROUND_FLOOR]
    ground_floor = [
        file for path in rooms for file in (path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")])
    ]
    for path in [*room("data_prep"), *ground_floor]:
        modules = imports(path)
        assert not {m for m in modules if m.split(".")[0] in ("torch", "flows", "prefect", "dvc")}, path
        assert {m.split(".")[1] for m in modules if m.startswith("scn.")} <= GROUND_FLOOR, path
        assert not {m for m in modules if m.startswith("ray.train")}, path


def test_flows_hold_no_image_tensor_or_metric_code() -> None:
    for path in room("flows"):
        modules = imports(path)
        assert not {m for m in modules if m.split(".")[0] in ("torch", "numpy", "PIL", "ray", "boto3")}, path
        used = {m.split(".")[1] for m in modules if m.startswith(("scn.", "data_prep."))}
        assert used <= {"config", "errors", "files"}, path


def test_files_are_short() -> None:
    for package in ("scn", "data_prep", "flows", "tests", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path


@pytest.mark.parametrize("module", ["scn", "scn.cli", "data_prep.cli", "data_prep.shards", "scn.storage"])
def test_heavy_packages_are_imported_where_they_are_used(module: str) -> None:
    """So that `scn --help` and `data-prep --help` answer at once."""
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not HEAVY & set(loaded.stdout.split())
