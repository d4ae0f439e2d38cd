"""The project of the cluster's tests: a small one, whose batches can be dealt to two and to three workers."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from machines import Machine
from PIL import Image
from small_run import SMALL

NAME = "sr-x2"
SETS = [f"pictures/test{number}" for number in range(6)]
SECTIONS: dict[str, dict[str, Any]] = {
    "data": {"train": ["pictures/train"], "evaluation": SETS, "min_shards": 12},
    "train": {**SMALL["train"], "batch_size": 6, "epochs": 5},
    "run": {"checkpoint_every": 20, "log_every": 2},
}
SCN = (sys.executable, "-m", "scn.cli")
DATA_PREP = (sys.executable, "-m", "data_prep")
SHARD = (*DATA_PREP, "shard", "--experiment", NAME, "--out", f"shards/{NAME}")
EVALUATE = (*SCN, "evaluate", "--experiment", NAME)


def training(*settings: str) -> list[str]:
    """The command that trains, with `settings` of params.yaml changed: "run.workers=2"."""
    return [*SCN, "train", "--experiment", NAME, *(word for setting in settings for word in ("--set", setting))]


def write_project(folder: Path, storage: str) -> None:
    """Makes the project in `folder` from nothing: 12 pictures to train on, and 12 in six evaluation sets."""
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    for name, count in {"pictures/train": 12, **dict.fromkeys(SETS, 2)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            spots = Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8))  # no two pictures look alike
            spots.resize((80, 64), Image.Resampling.BICUBIC).save(folder / name / f"{number}.png")
    (folder / "params.yaml").write_text(yaml.safe_dump({**SMALL, "storage": {"url": storage}, **SECTIONS}))


class Results:
    """What the project's commands have left on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.folder = machine.folder / "project"

    @property
    def shards(self) -> Path:
        """The folder of the manifests."""
        return self.folder / "shards" / NAME

    @property
    def manifests(self) -> list[bytes]:
        """The manifests of both kinds."""
        return [(self.shards / f"{kind}.json").read_bytes() for kind in ("train", "evaluation")]

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.folder / "models" / NAME

    @property
    def weights(self) -> bytes:
        """The trained weights."""
        return (self.model / "model.safetensors").read_bytes()

    @property
    def figures(self) -> bytes:
        """The figures of the evaluation, image by image."""
        return (self.folder / "evaluations" / NAME / "model.json").read_bytes()

    @property
    def curve(self) -> Path:
        """The table of a training's loss."""
        return self.folder / "curves" / NAME / "plots/metrics/loss.tsv"

    @property
    def steps(self) -> list[int]:
        """The steps of the curves of a training, so far."""
        rows = self.curve.read_text().splitlines() if self.curve.is_file() else []
        return [int(row.split("\t")[0]) for row in rows[1:] if "\t" in row]

    @property
    def last_step_time(self) -> float:
        """When the curves got their last step, in seconds since the epoch; 0: there are none."""
        return self.curve.stat().st_mtime if self.steps else 0.0
