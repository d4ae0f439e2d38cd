"""A small project to train in: generated pictures, a configuration, shards."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from saved_runs import IDENTITY, Machine

from data_prep.cli import main as data_prep
from scn.config.params import DataConfig, Params, load_params
from scn.config.run import RunConfig
from scn.storage import open_store
from scn.storage.base import Store
from scn.training.checkpoint import Checkpoints

Project = Callable[..., Params]

SMALL: dict[str, Any] = {
    "corpora": {"local": {"pictures": "pictures"}},
    "data": {"train": ["pictures/train"], "evaluation": ["pictures/test"]},
    "model": {"blocks": 2, "units": 8, "width": 2, "scales": 2},
    "train": {
        "batch_size": 4,
        "patch_size": 16,
        "patches_per_image": 20,
        "epochs": 2,
        "hold_epochs": 1,
        "halve_every_epochs": 1,
    },
    "run": {"checkpoint_every": 5, "log_every": 2},
    "experiments": {
        "sr-x2": {"task": "sr", "level": 2},
        "dn-s25": {"task": "dn", "level": 25},
        "car-q10": {"task": "car", "level": 10},
    },
}
SECTIONS = {"data": DataConfig.model_fields, "run": RunConfig.model_fields}
"""Keys of the sections that are changed by name; all others are of the section train."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Makes the project, with changes to its sections data, train and run, and the shards of one experiment."""

    def make(
        experiment: str, root: Path = tmp_path, storage: str = "file://store", images: int = 3, **settings: object
    ) -> Params:
        rng = np.random.default_rng(0)
        for split, count in (("train", images), ("test", 1)):
            folder = root / "pictures" / split
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                y, x = np.mgrid[0:64, 0:80]
                waves = [127 + 80 * np.sin(x / rng.uniform(2, 9) + y / rng.uniform(2, 9)) for _ in range(3)]
                picture = np.stack(waves, axis=-1) + rng.normal(0, 5, (64, 80, 3))
                Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        document: dict[str, Any] = {**SMALL, "storage": {"url": storage}}
        for key, value in settings.items():
            if key == "start_from":
                document[key] = {experiment: value}
            else:
                section = next((name for name, fields in SECTIONS.items() if key in fields), "train")
                document[section] = {**document[section], key: value}
        (root / "params.yaml").write_text(yaml.safe_dump(document))
        shards = root / "shards" / experiment
        arguments = ["shard", "--experiment", experiment, "--out", str(shards), "--workers", "0"]
        monkeypatch.setattr("sys.argv", ["data-prep", *arguments, "--params", str(root / "params.yaml")])
        with contextlib.suppress(SystemExit):
            data_prep()
        assert (shards / "train.json").is_file(), "the shards could not be made"
        return load_params(root / "params.yaml")

    return make


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.storage.patience.FIRST_PAUSE", 0.001)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """The checkpoints of a run as a machine (by name) sees them."""

    def make(store: Store, name: str = "a", identity: dict[str, Any] = IDENTITY, **options: Any) -> Checkpoints:
        return Checkpoints(store=store, folder=tmp_path / name, experiment="sr-x2", identity=identity, **options)

    return make


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)
