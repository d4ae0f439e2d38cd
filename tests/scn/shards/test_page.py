"""docs/shards.md: its training loop runs as it is written."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scn.imaging.degradation import bicubic_downscale
from scn.shards.manifest import write_manifests
from scn.shards.samples import About, Sample
from scn.storage import open_store

ROOT = Path(__file__).resolve().parents[3]


def test_the_training_loop_learns(
    tmp_path: Path, make_project: Callable[..., Any], put: Callable[..., Any], photograph: Callable[..., Any]
) -> None:
    """As it is written, on three small images in two shards: one for each of its readers."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "shards.md").read_text(), re.M | re.S)
    project = make_project(tmp_path, "file://.scn/store")
    samples = []
    for index, (height, width) in enumerate([(48, 64), (56, 50), (64, 48)]):
        hr = photograph(height, width)
        about = About(name=f"{index}.png", index=index, height=height, width=width)
        samples.append(Sample(about=about, hr=hr, lr=bicubic_downscale(hr, 2)))
    store = open_store(project.params.storage.url, tmp_path)
    manifests = put(store, project.params.experiment("sr-x2"), samples[:2], samples[2:])
    write_manifests(tmp_path / "shards" / "sr-x2", manifests)

    run = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    losses = [float(loss) for loss in re.findall(r"^epoch \d: loss (\d\.\d{4})$", run.stdout, re.M)]
    assert len(losses) == 10
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])
