"""The alerts of deploy/prometheus fire when they should, by Prometheus' own tool; their metrics are those of Ray."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy/prometheus"


@pytest.mark.skipif(not shutil.which("promtool"), reason="there is no promtool here (Debian's package prometheus)")
@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "--syntax-only", "prometheus.yaml"),
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts.test.yaml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
