"""`make setup` ends with an environment that has Pillow or pillow-simd, or says that it has not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A Python whose pip can't put pillow-simd in the place of Pillow, and Pillow back if $BACK is `true`.
PYTHON = """\
#!/bin/sh
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *" uninstall "*) rm pillow ;;
  *" install "*--target*) ;;
  *" install "*--find-links*) exit 1 ;;
  *" install "*" -c constraints.txt pillow") $BACK && touch pillow ;;
  *" install "*) touch pillow ;;
  *PIL*) test -e pillow ;;
esac
"""


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("back", [True, False])
def test_where_pillow_simd_can_not_be_installed_pillow_is_back_or_the_environment_is_not_ready(
    back: bool, tmp_path: Path
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment["BACK"] = str(back).lower()
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    made = [(tmp_path / name).exists() for name in ("pillow", ".venv/ready", ".venv/simd")]
    assert made == [back, back, False], done.stderr
    assert (done.returncode == 0) is back
    assert ("Pillow serves" in done.stderr) is back
    assert ("run 'make setup' again" in done.stderr) is not back
