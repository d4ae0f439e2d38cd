"""`make setup` ends with an environment of the Python asked for, with Pillow or pillow-simd, or says why not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A Python whose pip can't put pillow-simd in the place of Pillow, and Pillow back if $BACK is `true`. As venv does, it
# leaves an interpreter that is there, and ends at a link to none.
PYTHON = """\
#!/bin/sh
case "$*" in
  --version) echo Python 3.12.1 ;;
  "-m venv --clear .venv") rm -rf .venv && "$0" -m venv .venv ;;
  "-m venv .venv") mkdir -p .venv/bin && { test -e .venv/bin/python || cp "$0" .venv/bin/python; } ;;
  *" uninstall "*) rm pillow ;;
  *" install "*--target*) ;;
  *" install "*--find-links*) exit 1 ;;
  *" install "*" -c constraints.txt pillow") $BACK && touch pillow ;;
  *" install "*) touch pillow ;;
  *PIL*) test -e pillow ;;
esac
"""


pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def _make(folder: Path, back: bool = True) -> subprocess.CompletedProcess[str]:
    """`make PYTHON=... setup` in a folder with a Python of the kind above."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, folder)
    python = folder / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment["BACK"] = str(back).lower()
    words = ["make", "setup", f"PYTHON={python}"]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize("there", ["another version", "a link to none", "nothing", "it"])
def test_the_environment_has_the_python_that_is_asked_for(there: str, ready: bool, tmp_path: Path) -> None:
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    if there == "a link to none":
        python.symlink_to("/nowhere/python3.12")
    elif there != "nothing":
        python.write_text(PYTHON.replace("3.12.1", "3.12.1" if there == "it" else "3.13.0"))
        python.chmod(0o755)
    (tmp_path / ".venv/kept").touch()
    if ready:
        (tmp_path / ".venv/ready").touch()
    done = _make(tmp_path)
    assert done.returncode == 0, done.stderr
    assert python.read_text() == PYTHON
    assert (tmp_path / ".venv/ready").exists()
    assert (tmp_path / ".venv/kept").exists() is (there == "it")
    assert ("Installing" in done.stderr) is not (ready and there == "it")


@pytest.mark.parametrize("back", [True, False])
def test_where_pillow_simd_can_not_be_installed_pillow_is_back_or_the_environment_is_not_ready(
    back: bool, tmp_path: Path
) -> None:
    done = _make(tmp_path, back)
    made = [(tmp_path / name).exists() for name in ("pillow", ".venv/ready", ".venv/simd")]
    assert made == [back, back, False], done.stderr
    assert (done.returncode == 0) is back
    assert ("Pillow serves" in done.stderr) is back
    assert ("run 'make setup' again" in done.stderr) is not back
