"""Threads that wait for others sleep soon, unless the user has chosen otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scn.core.openmp import wait_briefly

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch brings another OpenMP there")
def test_openmp_has_read_it_when_pytorch_is_loaded() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    result = subprocess.run(
        [sys.executable, "-c", "import scn, torch"],
        env={**environment, "OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "GOMP_SPINCOUNT = '1000'" in result.stderr


@pytest.mark.parametrize("chosen", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}])
def test_what_the_user_has_chosen_stays(chosen: dict[str, str]) -> None:
    environment = dict(chosen)
    wait_briefly(environment)
    assert environment == chosen
