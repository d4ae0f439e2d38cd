"""A small project of its own: params.yaml, two folder corpora and a store."""

from collections.abc import Callable
from pathlib import Path

import pytest
from photo_folder import SIZES, picture, write_photos
from PIL import Image

PARAMS = """\
corpora: {photos: photos, tests: tests, single: single.yaml}
data: {train: [photos], evaluation: [tests], images_per_shard: 2}
train: {patch: 8}
experiments:
  sr-x2: {task: sr, level: 2}
  sr-x4: {task: sr, level: 4}
  dn-s25: {task: dn, level: 25}
  car-q10: {task: car, level: 10}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, which is the current one; five training images and two for evaluation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    Path("params.yaml").write_text(PARAMS)
    write_photos(Path("photos"), sorted(SIZES))
    Path("photos/notes.txt").write_text("where they come from")
    Path("tests").mkdir()
    for seed, name in enumerate(("one.png", "two.png"), 10):
        Image.fromarray(picture(seed, 45, 38)).save(Path("tests", name))
    return tmp_path


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple]:
    """Runs the console entry point in this process; returns status, stdout, stderr."""
    from data_prep.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["data-prep", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run
