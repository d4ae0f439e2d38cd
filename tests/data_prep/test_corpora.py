"""Which images a corpus holds, in which order, and what is said when it is not what it should be."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from data_prep.corpora import check_disjoint, index_of, open_corpus, open_images
from scn.config import load_params
from scn.errors import UserError


def opened(reference: str):
    return open_corpus(load_params(), reference)


def test_a_folder_is_searched_and_sorted_by_name(project: Path) -> None:
    corpus = opened("photos")

    assert [image.name for image in corpus.images] == ["a.png", "c.bmp", "e.png", "sub/b.png", "sub/d.PNG"]
    assert [image.split for image in corpus.images] == [None, None, None, "sub", "sub"]
    assert corpus.ignored == 1
    assert corpus.images[0].sha256 == hashlib.sha256(Path("photos/a.png").read_bytes()).hexdigest()


def test_a_split_is_a_sub_folder_and_keeps_the_names(project: Path) -> None:
    assert [image.name for image in opened("photos/sub").images] == ["sub/b.png", "sub/d.PNG"]


def test_folders_are_relative_to_the_parameters(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = opened("photos").sha256
    monkeypatch.chdir("/")
    assert open_corpus(load_params(project / "params.yaml"), "photos").sha256 == expected


def test_the_hash_is_of_names_and_contents(project: Path) -> None:
    first = opened("photos").sha256
    Path("photos/other.txt").write_text("no image")
    assert opened("photos").sha256 == first
    Path("photos/a.png").rename("photos/aa.png")
    assert opened("photos").sha256 != first


def test_a_folder_can_be_named_directly(project: Path) -> None:
    shutil.copytree("photos/sub", "elsewhere/mine")
    corpus = open_images(load_params(), "elsewhere/mine")
    assert corpus.reference == "mine"
    assert [image.name for image in corpus.images] == ["b.png", "d.PNG"]
    with pytest.raises(UserError, match=r"'nowhere' is neither a folder nor a corpus of params.yaml \(photos, "):
        open_images(load_params(), "nowhere")


def test_the_index_says_what_is_there_without_paths(project: Path) -> None:
    index = json.loads(index_of(opened("photos")))

    assert index["name"] == "photos"
    assert index["ignored"] == 1
    row = next(row for row in index["images"] if row["name"] == "sub/d.PNG")
    assert (row["width"], row["height"], row["mode"], row["split"]) == (37, 50, "RGB", "sub")
    assert row["bytes"] == Path("photos/sub/d.PNG").stat().st_size
    assert str(project) not in json.dumps(index)


def test_a_file_that_is_no_image_is_named(project: Path) -> None:
    Path("photos/fake.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(UserError, match=r"photos/fake.jpg is no image, whatever its name says"):
        index_of(opened("photos"))


def test_an_image_that_changes_meanwhile_is_named(project: Path) -> None:
    source = opened("photos").images[0]
    Image.new("L", (20, 20)).save("photos/a.png")
    with pytest.raises(UserError, match=r"a.png changed while it was being prepared"):
        source.read()


def test_the_same_image_on_both_sides_is_named(project: Path) -> None:
    shutil.copy("photos/sub/b.png", "tests/renamed.png")
    with pytest.raises(UserError, match=r"training image sub/b.png of photos is the evaluation image renamed.png"):
        check_disjoint([opened("photos")], [opened("tests")])
    check_disjoint([opened("photos")], [])


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("photo", "params.yaml has no corpus 'photo': use one of photos, single, tests"),
        ("photos/val", "photos/val of the corpus 'photos/val' does not exist"),
        ("photos/../tests", "photos/../tests of the corpus .* does not exist"),
    ],
)
def test_a_wrong_reference_is_named(project: Path, reference: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        opened(reference)


def test_empty_and_missing_folders_are_named(project: Path) -> None:
    shutil.rmtree("photos")
    with pytest.raises(UserError, match=r"photos of the corpus 'photos' does not exist: put images there or correct"):
        opened("photos")
    Path("photos").mkdir()
    Path("photos/readme.txt").touch()
    with pytest.raises(UserError, match=r"photos of the corpus 'photos' holds no image \(bmp jpeg jpg png "):
        opened("photos")


@pytest.fixture
def package(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An installed package `carrier` with two images and code that must not run; checksums by name."""
    folder = project / "site" / "carrier" / "data"
    shutil.copytree(project / "photos" / "sub", folder)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(project / "site"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def catalogue(images: dict[str, dict[str, str]], package: str = "carrier") -> None:
    Path("single.yaml").write_text(json.dumps({"package": package, "folder": "data", "images": images}))


def test_a_catalogue_lists_splits_of_a_package(package: dict[str, str]) -> None:
    catalogue({"train": {"d.PNG": package["d.PNG"]}, "evaluation": {"b.png": package["b.png"]}})

    assert [(i.name, i.split) for i in opened("single").images] == [("b.png", "evaluation"), ("d.PNG", "train")]
    assert [i.name for i in opened("single/train").images] == ["d.PNG"]
    with pytest.raises(UserError, match="has no split 'test': use one of evaluation, train"):
        opened("single/test")


def test_what_a_catalogue_promises_is_checked(package: dict[str, str]) -> None:
    catalogue({"train": {"b.png": package["d.PNG"]}})
    with pytest.raises(UserError, match=r"b.png is not the file that .* lists \(its SHA-256 differs\)"):
        opened("single")
    catalogue({"train": {"x.png": "0"}})
    with pytest.raises(UserError, match=r"The package carrier has no file data/x.png, which .* lists"):
        opened("single")
    catalogue({"train": {}})
    with pytest.raises(UserError, match="lists no image for 'single'"):
        opened("single")
    catalogue({"train": {"b.png": "0"}}, package="no_such_package")
    with pytest.raises(UserError, match=r"package no_such_package, whose images .* lists, is not installed"):
        opened("single")
    Path("single.yaml").write_text("package: carrier\nimage: {}\n")
    with pytest.raises(UserError, match=r"single.yaml is wrong at image"):
        opened("single")
    Path("single.yaml").write_text("package: [")
    with pytest.raises(UserError, match=r"single.yaml can't be read"):
        opened("single")
    Path("single.yaml").unlink()
    with pytest.raises(UserError, match=r"single.yaml of the corpus 'single' does not exist"):
        opened("single")


def test_the_sample_corpus_is_what_its_catalogue_says() -> None:
    params = load_params(Path(__file__).parents[2] / "params.yaml")
    assert len(open_corpus(params, "sample/train").images) == 10
    assert len(open_corpus(params, "sample/evaluation").images) == 3
