"""The project that is disturbed: one experiment at the smallest size, its stages, and what an undisturbed run made."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.photographs import write_photographs
from benchmarks.workspace import Workspace
from scn.config.params import load_params
from scn.registry.publish import latest, versions
from scn.registry.show import verified
from scn.storage import open_store

NAME = "sr-x2"
STAGES = ("look@pictures", "index@pictures", "plan", "shard", "train", "evaluate", "ensemble", "publish")
"""Stages of the pipeline, in their order; those without @ are of the experiment."""
TARGET = f"publish@{NAME}"
REPRO = ("dvc", "repro", TARGET)
"""The pipeline. The plain re-run is MEND and this, as in `make run`."""
MEND = ("python", "-m", "flows.lock")
WITHOUT_RAY = {
    f"shards/${{key}}{end}": f"shards/${{key}} --workers 0{end}" for end in ("\n      deps:\n        - plans",)
} | {"cmd: scn train --experiment ${key}\n": "cmd: scn train --experiment ${key} --plain\n"}
"""Changes to dvc.yaml after which nothing but the evaluation's own code starts processes."""
RESULTS = (
    f"shards/{NAME}/train.json",
    f"shards/{NAME}/evaluation.json",
    f"models/{NAME}/model.safetensors",
    f"evaluations/{NAME}/model.json",
    f"evaluations/{NAME}/ensemble.json",
)
"""Manifests, weights and figures."""


def full_name(stage: str) -> str:
    """DVC's name of a stage of STAGES."""
    return stage if "@" in stage else f"{stage}@{NAME}"


class Project:
    """The project in a folder that stays the same, and copies of it beside that folder."""

    def __init__(self, folder: Path, variables: Mapping[str, str] = {}) -> None:
        """Names it; `variables` are added to the environment of its commands."""
        self.folder = folder
        self.here = Workspace(folder / "project")
        self.here.environment |= {
            "PYTHONUNBUFFERED": "1",  # what is printed comes at once
            "OMP_NUM_THREADS": "1",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # more often than usual: most of so short a training
            "DVC_SITE_CACHE_DIR": str(self.here.root / ".scn/dvc-site"),  # DVC's memory of files goes with the copies
            **variables,
        }
        self.here.environment.pop("SCN_CORPORA", None)

    @property
    def root(self) -> Path:
        """The folder in which its commands run."""
        return self.here.root

    def make(self, storage: str = "file://.scn/store", *, ray: bool = True) -> None:
        """Writes it anew: three pictures to train on, two to measure on, 120 steps with a checkpoint every 20."""
        shutil.rmtree(self.root, ignore_errors=True)
        for first, (split, count) in enumerate({"train": 3, "test": 2}.items()):
            write_photographs(self.root / "pictures" / split, count, 64, 80, first=10 * first)
        self.here.fill()
        self.here.replace(
            {
                "storage": {"url": storage},
                "corpora": {"root": "corpora", "download": {}, "local": {"pictures": "pictures"}},
                "experiments": {NAME: {"task": "sr", "level": 2, "data": {}, "model": {}, "train": {}}},
            }
        )
        self.here.change(
            {
                "data": {"train": ["pictures/train"], "evaluation": ["pictures/test"]},
                "train": {"epochs": 40, "hold_epochs": 20},
                "run": {"checkpoint_every": 20, "log_every": 20, "validate_every": 60},
            }
        )
        if not ray:
            path = self.root / "dvc.yaml"
            text = path.read_text()
            for old, new in WITHOUT_RAY.items():
                if old not in text:
                    raise RuntimeError(f"dvc.yaml has no '{old}': WITHOUT_RAY of {__file__} is old")
                text = text.replace(old, new)
            path.write_text(text)
        self.here.commit()

    def keep(self, name: str) -> None:
        """Copies it as it is now, under a name."""
        self._copy(self.root, self.folder / name)

    def restore(self, name: str) -> None:
        """Makes it again what it was when it was kept under that name."""
        self._copy(self.folder / name, self.root)

    def results(self) -> dict[str, str | bytes]:
        """Manifests, weights and figures, and what the registry says of them; a file that is missing is b""."""
        found: dict[str, str | bytes] = {name: _content(self.root / name) for name in RESULTS}
        receipt = json.loads(_content(self.root / f"published/{NAME}.json") or b"{}")
        found["version"] = str(receipt.get("version"))
        return found

    def faults(self, expected: Mapping[str, str | bytes]) -> list[str]:
        """What differs from the results of an undisturbed run, and what in the registry is not whole or too much."""
        found = self.results()
        wrong = [f"{name} differs" for name, content in expected.items() if found[name] != content]
        params = load_params(self.root / "params.yaml")
        wrong += [f"{version}: {problem}" for version, problem in verified(params, []) if problem]
        store = open_store(params.storage.url, params.root)
        if (numbers := versions(store, NAME)) != [1] or latest(store, NAME) != "v1":
            wrong.append(f"versions {numbers}, of which {latest(store, NAME)} is the latest")
        return wrong

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)


def last_sentence(printed: str) -> str:
    """The last line of what a command printed that is its own, without DVC's and Python's about it."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    dvc = ("ERROR: failed to reproduce", "Having any troubles?", "Traceback", "  ")
    own = [line for line in lines if not line.startswith(dvc)]
    return own[-1] if own else ""


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
