"""The table of figures, to which tests in several processes add rows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.parametrize("work", ["sharding", "training"])
def test_it_is_disturbed(measured, work):
    measured.append({"work": work, "lasted_s": 60.0})
"""


def test_the_table_has_the_rows_of_every_process(tmp_path: Path) -> None:
    folder, file = tmp_path / "cluster", tmp_path / "figures.json"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "small_run.py").write_text("SMALL = {'train': {}}")  # the real one imports PyTorch
    (folder / "test_disturbed.py").write_text(TESTS)
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-n", "2", "-p", "no:cacheprovider", str(folder)]
    result = subprocess.run(
        [*command, "--cluster-json", str(file)],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| training |" in result.stdout
    rows = json.loads(file.read_text())["rows"]
    assert sorted(row["work"] for row in rows) == ["sharding", "training"]
