"""Fixtures of a small project of its own: params.yaml, two folder corpora and a store."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from photo_folder import SIZES, picture, write_photos
from PIL import Image

PARAMS = """\
corpora: {local: {photos: photos, tests: tests}}
data: {train: [photos], evaluation: [tests]}
train: {patch_size: 8}
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
    monkeypatch.delenv("SCN_CORPORA", raising=False)
    Path("params.yaml").write_text(PARAMS)
    write_photos(Path("photos"), sorted(SIZES))
    Path("photos/notes.txt").write_text("where they come from")
    Path("tests").mkdir()
    for seed, name in enumerate(("one.png", "two.png"), 10):
        Image.fromarray(picture(seed, 45, 38)).save(Path("tests", name))
    return tmp_path


@pytest.fixture
def configure(project: Path) -> Callable[..., None]:
    """configure(section, key=value, ...) changes the project's params.yaml."""

    def change(section: str, **values: object) -> None:
        document = yaml.safe_load(Path("params.yaml").read_text())
        document[section].update(values)
        Path("params.yaml").write_text(yaml.safe_dump(document))

    return change


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """known(archives={...}, NAME={...}, ...) is the catalogue of this test."""

    def write(archives: dict[str, object] | None = None, **corpora: object) -> None:
        path = tmp_path / f"catalogue-{uuid.uuid4().hex}.yaml"
        path.write_text(yaml.safe_dump({"archives": archives or {}, "corpora": corpora}))
        monkeypatch.setattr("scn.corpora.catalogue.FILE", path)

    return write


@pytest.fixture
def site_corpora() -> Path:
    """A folder with the papers' corpora; where there is none the test is skipped."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("the papers' corpora are not here (../shared/corpora)")
    return folder
