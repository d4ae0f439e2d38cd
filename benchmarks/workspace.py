"""A clone-like copy of the project at the smallest size, with git and DVC of its own, for tests and benchmarks."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "model": {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2, "ratio": 0.5},
    "train": {
        "batch_size": 4,
        "patch_size": 16,
        "patches_per_image": 4,
        "epochs": 2,
        "hold_epochs": 0,
        "precision": "float32",
    },
}


class Workspace:
    """A clone-like copy of the project with tiny parameters and git and DVC of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        self.environment = {**os.environ, "PATH": os.pathsep.join(paths), "PYTHONPATH": str(root)}
        self.environment |= {"DVC_NO_ANALYTICS": "1", "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200"}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command in the workspace; with `check`, raises RuntimeError with its output if it fails."""
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"{command}:\n{done.stdout}\n{done.stderr}")
        return done

    def fill(self) -> "Workspace":
        """Copies the project, its tests left out, and commits it with tiny parameters."""
        listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
        for file in filter(None, files):
            if (ROOT / file).is_file() and not file.startswith("tests/") and file != "dvc.lock":
                target = self.root / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, target)
        self.change(TINY)
        self.run("git", "init", "--quiet")
        self.commit()
        return self

    def change(self, values: Mapping[str, Mapping[str, object]]) -> None:
        """Changes keys of sections of params.yaml."""
        path = self.root / "params.yaml"
        document = yaml.safe_load(path.read_text())
        for section, changed in values.items():
            document[section].update(changed)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def replace(self, values: Mapping[str, object]) -> None:
        """Puts other sections into params.yaml, in place of those that are there."""
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | dict(values), sort_keys=False))

    def commit(self) -> None:
        """Commits all that is there."""
        self.run("git", "add", "--all")
        who = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        self.run("git", *who, "commit", "--quiet", "--allow-empty", "-m", "State")

    def status(self, *targets: str) -> set[str]:
        """The stages that `dvc repro` of the targets would run, but for those that follow from them."""
        return set(json.loads(self.run("dvc", "status", "--json", "--with-deps", *targets).stdout))
