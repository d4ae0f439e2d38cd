"""Restored images of `scn evaluate --save` never lie on or among images that something reads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_sets import measured
from PIL import Image

from scn.core.errors import UserError
from scn.evaluation.saving import component
from scn.imaging.degradation import bicubic_downscale


@pytest.fixture
def project(small_project: Any, photograph: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A corpus A of one image in the folder setA, and a folder lr with its low-resolution file."""
    root = small_project.root
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("sample: photographs", "sample: photographs\n    A: setA"))
    hr = photograph(40, 48)
    for name, pixels in (("setA", hr), ("lr", bicubic_downscale(hr, 2))):
        (root / name).mkdir()
        Image.fromarray(pixels).save(root / name / "a.png")
    (root / "elsewhere").mkdir()
    monkeypatch.chdir(root / "elsewhere")
    return small_project


def save(project: Any, sets: Sequence[str], methods: Sequence[str], to: Path, inputs: str | None = None) -> None:
    measured(project, "sr-x2", list(sets), list(methods), save=to, inputs=inputs)


@pytest.mark.parametrize(
    ("images", "inputs", "to", "message"),
    [
        ("A", None, "setA", r"^--save: \S+setA is \S+setA, with the images of A: name a folder apart from it\.$"),
        ("A", None, "setA/out", r"^--save: \S+out lies in \S+setA, with the images of A: name"),
        ("A", None, ".", r"^--save: \S+project holds \S+setA, with the images of A: name"),
        ("setA", "lr", "lr", r"^--save: \S+lr is \S+lr, with the images of setA: name"),
        ("lr", None, "photographs/new", r"^--save: \S+new lies in \S+photographs, with the images of sample: name"),
    ],
)
def test_images_are_never_written_over(project: Any, images: str, inputs: str | None, to: str, message: str) -> None:
    root = project.root
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    with pytest.raises(UserError, match=message):
        save(
            project,
            [images if images == "A" else str(root / images)],
            ["bicubic"],
            root / to,
            inputs and str(root / inputs),
        )
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_a_sub_folder_that_is_measured_protects_its_corpus(project: Any, photograph: Any) -> None:
    (project.root / "setA" / "sub").mkdir()
    Image.fromarray(photograph(40, 40)).save(project.root / "setA" / "sub" / "b.png")
    with pytest.raises(UserError, match=r"lies in \S+setA, with"):
        save(project, ["A/sub"], ["bicubic"], project.root / "setA" / "out")


def test_only_a_new_or_empty_folder_is_written_to(project: Any) -> None:
    out = project.root / "out"
    save(project, ["A"], ["bicubic"], out)
    first = (out / "a.png").read_bytes()
    with pytest.raises(
        UserError, match=r"^--save: \S+out holds something already, such as a\.png: name a new or empty"
    ):
        save(project, ["A"], ["input"], out)
    assert (out / "a.png").read_bytes() == first
    (project.root / "file").write_text("mine")
    with pytest.raises(UserError, match=r"^--save: \S+file can't be made \(File exists\): name another folder\.$"):
        save(project, ["A"], ["input"], project.root / "file")
    assert (project.root / "file").read_text() == "mine"


def test_a_store_is_no_folder(project: Any) -> None:
    with pytest.raises(UserError, match=r"^--save: s3://scn/x is no path on this machine: name a folder here\.$"):
        save(project, ["A"], ["bicubic"], Path("s3://scn/x"))
    assert not Path("s3:").exists()


def test_nothing_is_written_into_a_model(project: Any) -> None:
    model = project.add_model("sr-x2")
    before = sorted(model.iterdir())
    for number, method in enumerate((str(model), "../models/sr-x2")):
        out = project.root / f"out{number}"
        save(project, ["A"], ["bicubic", method], out)
        assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
            "sr-x2/A/bicubic/a.png",
            f"sr-x2/A/{component(method)}/a.png",
        ]
    assert sorted(model.iterdir()) == before


def test_pictures_of_two_sets_of_one_name_lie_apart(project: Any, photograph: Any) -> None:
    sets = []
    for number, place in enumerate(("x", "y")):
        folder = project.root / place / "same"
        folder.mkdir(parents=True)
        Image.fromarray(photograph(40, 40 + 2 * number)).save(folder / "a.png")
        sets.append(str(folder))
    save(project, sets, ["bicubic"], project.root / "out")
    files = [project.root / "out" / "sr-x2" / component(each) / "bicubic" / "a.png" for each in sets]
    assert [np.asarray(Image.open(path)).shape for path in files] == [(40, 40, 3), (40, 42, 3)]


def test_sets_of_an_experiment_lie_apart(project: Any, photograph: Any) -> None:
    """Also where params.yaml names them."""
    for name in ("one", "two"):
        (project.root / "photographs" / name).mkdir(parents=True)
        Image.fromarray(photograph(40, 40)).save(project.root / "photographs" / name / "a.png")
    text = (project.root / "params.yaml").read_text()
    text = text.replace("- sample/evaluation", "- sample/one\n  - sample/two")
    (project.root / "params.yaml").write_text(text)
    save(project, [], ["bicubic"], project.root / "out")
    parts = [component(f"sample/{name}") for name in ("one", "two")]
    assert sorted(path.name for path in (project.root / "out" / "sr-x2").iterdir()) == sorted(parts)


def test_two_images_never_have_one_place(project: Any, photograph: Any) -> None:
    for name in ("b.jpg", "b.jpg.png"):
        Image.fromarray(photograph(40, 40)).save(project.root / "setA" / name)
    with pytest.raises(
        UserError, match=r"^--save: b\.jpg and b\.jpg\.png would both be b\.jpg\.png: rename one of them"
    ):
        save(project, ["A"], ["bicubic"], project.root / "out")


def test_a_part_of_a_path_is_one_folder_and_another_for_each_text() -> None:
    texts = ["sr-x2", "sr-x2@v1", "/a/sr-x2", "a/sr-x2", "../a/sr-x2", "..", ".", "a b", "-a", "x" * 300, "модель", "/"]
    parts = [component(text) for text in texts]
    assert parts[:2] == texts[:2]
    assert len(set(parts)) == len(texts)
    for part in parts:
        assert "/" not in part
        assert part[0] not in ".-"
        assert len(part) <= 80
