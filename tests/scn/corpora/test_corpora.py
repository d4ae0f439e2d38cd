"""The images of a corpus, their order, and the errors for a corpus that is incomplete or damaged."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from photo_folder import write_photos
from PIL import Image

from scn.config.params import load_params
from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.corpora.corpora import index_of, open_corpus, open_images
from scn.corpora.licences import licence_in

Known = Callable[..., None]


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


def test_a_licence_is_that_of_the_images_whatever_they_are_called(project: Path) -> None:
    index = json.loads(index_of(opened("photos"), "free"))
    whole, split = opened("photos").sha256, opened("photos/sub").sha256
    assert licence_in(index, "photos", whole) == licence_in(index, "photos/sub", split) == "free"
    assert licence_in(index, "photos", None) == "free"
    assert [licence_in(index, "photos", split), licence_in(index, "photos/sub", whole)] == ["", ""]
    assert licence_in(json.loads(index_of(opened("photos"))), "photos", whole) == ""
    for damaged in ([], {"licence": "free"}, {**index, "images": [{}]}):
        assert licence_in(damaged, "photos/sub", split) == ""


def test_index_and_hash_are_what_json_makes_of_the_whole(project: Path) -> None:
    """Both are written row by row."""
    Path('photos/sub/"5" - é.png').write_bytes(b"no image")
    corpus = opened("photos")
    for licence in ("", "free"):
        index = index_of(corpus, licence)
        assert index == json.dumps(json.loads(index), indent=1, sort_keys=True) + "\n"
    assert corpus.sha256 == digest([[image.name, image.sha256] for image in corpus.images])


def test_headers_are_read_with_the_hash(project: Path) -> None:
    source = opened("photos").images[1]
    assert (source.name, source.width, source.height, source.mode) == ("c.bmp", 33, 64, "L")
    assert source.bytes == Path("photos/c.bmp").stat().st_size
    assert source.refusal is None


def test_an_image_that_cannot_be_used_is_among_the_others_with_its_sentence(project: Path) -> None:
    Path("photos/fake.jpg").write_bytes(b"<html>404</html>")
    Image.new("CMYK", (40, 30)).save("photos/print.tif")
    corpus = opened("photos")
    refusals = {image.name: image.refusal for image in corpus.images if image.refusal}
    assert set(refusals) == {"fake.jpg", "print.tif"}
    assert "photos/fake.jpg is no image, whatever its name says" in refusals["fake.jpg"]

    rows = {row["name"]: row for row in json.loads(index_of(corpus))["images"]}
    assert rows["fake.jpg"]["width"] == 0
    assert (rows["print.tif"]["width"], rows["print.tif"]["mode"]) == (40, "CMYK")
    assert rows["print.tif"]["refused"].startswith("print.tif is CMYK")
    assert "refused" not in rows["a.png"]


def test_many_files_are_read_in_chunks_and_stay_in_order(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = opened("photos")
    monkeypatch.setattr("scn.corpora.reading._GROUP", 2)
    monkeypatch.setattr("scn.corpora.reading._PIECE", 1)
    monkeypatch.setattr("scn.corpora.reading._STATUSES", 3)
    assert opened("photos") == expected


def test_an_image_that_changes_meanwhile_is_named(project: Path) -> None:
    source = opened("photos").images[0]
    Image.new("L", (20, 20)).save("photos/a.png")
    with pytest.raises(UserError, match=r"a.png changed while it was being prepared"):
        source.read()


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("photo", "params.yaml has no corpus 'photo', nor has the catalogue: use one of photos, tests, one that"),
        ("photos/val", "photos/val of the corpus 'photos/val' does not exist"),
        ("photos/../tests", "'photos/../tests' is no NAME/SPLIT"),
        ("photos//", "'photos//' is no NAME/SPLIT"),
        ("photos//etc", "'photos//etc' is no NAME/SPLIT: name a sub-folder of the corpus"),
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
    with pytest.raises(UserError, match=r"photos of the corpus 'photos' is empty: put images there or correct"):
        opened("photos")
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


def test_a_package_carries_splits(package: dict[str, str], known: Known) -> None:
    known(carried=carried({"train": {"d.PNG": package["d.PNG"]}, "evaluation": {"b.png": package["b.png"]}}))

    assert [(i.name, i.split) for i in opened("carried").images] == [("b.png", "evaluation"), ("d.PNG", "train")]
    assert [i.name for i in opened("carried/train").images] == ["d.PNG"]
    with pytest.raises(UserError, match="has no split 'test': use one of evaluation, train"):
        opened("carried/test")


def carried(files: dict[str, dict[str, str]], package: str = "carrier") -> dict[str, object]:
    splits = {split: {"images": len(of_split), "files": of_split} for split, of_split in files.items()}
    return {"licence": "free", "use": "test", "package": package, "folder": "data", "splits": splits}


@pytest.mark.parametrize(
    ("name", "file", "package_name", "expected"),
    [
        ("b.png", "d.PNG", "carrier", r"b.png is not the file that the catalogue lists \(its SHA-256 differs\)"),
        ("x.png", "d.PNG", "carrier", r"The package carrier has no file data/x.png, which the catalogue lists"),
        ("b.png", "b.png", "no_such_package", r"package no_such_package, .* is not installed: install it"),
    ],
)
def test_what_the_catalogue_says_of_a_package_is_checked(
    package: dict[str, str], known: Known, name: str, file: str, package_name: str, expected: str
) -> None:
    known(carried=carried({"train": {name: package[file]}}, package_name))
    with pytest.raises(UserError, match=expected):
        opened("carried")


def test_the_sample_corpus_is_what_the_catalogue_says() -> None:
    params = load_params(Path(__file__).parents[3] / "params.yaml")
    corpus = open_corpus(params, "sample")
    assert len(corpus.images) == 13
    # The shards of earlier versions name this content.
    assert corpus.sha256 == "4816aa226cb151d1a91edf7e542725d4370d4ed28a017e963e9a8d8417e854ad"
    assert len(open_corpus(params, "sample/evaluation").images) == 3


def a_set(folder: str, images: int, **more: object) -> dict[str, object]:
    return {"folder": folder, "images": images, "tree": "some images", **more}


@pytest.fixture
def photo_set(project: Path, known: Known) -> Path:
    """A corpus of the catalogue with two splits and an extra one; returns the project's copy of it, which is empty."""
    splits = {"train": a_set("set_train", 3), "val": a_set("set_val", 2), "small": a_set("set_small", 1, extra=True)}
    known(photo_set={"licence": "free", "use": "test", "splits": splits}, again={**ALIAS, "alias": "photo_set/val"})
    return project / "corpora" / "photo_set"


ALIAS = {"licence": "free", "use": "test"}
TRAIN, VAL = ["a.png", "c.bmp", "e.png"], ["sub/b.png", "sub/d.PNG"]


def test_splits_may_be_called_by_their_folder_or_their_name(photo_set: Path) -> None:
    write_photos(photo_set / "set_train", TRAIN)
    write_photos(photo_set / "set_val", VAL)
    first = opened("photo_set")
    assert [image.name for image in first.images] == [
        *("train/a.png", "train/c.bmp", "train/e.png", "val/sub/b.png", "val/sub/d.PNG")
    ]
    assert [image.split for image in first.images] == ["train"] * 3 + ["val"] * 2
    assert opened("photo_set/set_val").images == opened("photo_set/val").images == opened("again").images

    (photo_set / "set_val").rename(photo_set / "val")
    assert opened("photo_set").sha256 == first.sha256


def test_a_sites_copy_goes_before_ones_own(photo_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(photo_set / "set_train", TRAIN)
    write_photos(photo_set / "set_val", VAL)
    write_photos(Path("site/photo_set/val"), VAL)
    monkeypatch.setenv("SCN_CORPORA", "site")
    paths = [image.path.relative_to(Path.cwd()).as_posix() for image in opened("photo_set").images]
    assert paths[0] == "corpora/photo_set/set_train/a.png"
    assert paths[-1] == "site/photo_set/val/sub/d.PNG"


def test_the_root_is_a_parameter(photo_set: Path, configure: Callable[..., None]) -> None:
    configure("corpora", root="elsewhere")
    write_photos(Path("elsewhere/photo_set/train"), TRAIN)
    assert len(opened("photo_set/train").images) == 3


def test_an_extra_split_is_opened_if_it_is_named(photo_set: Path) -> None:
    for split, names in (("train", TRAIN), ("val", VAL), ("small", TRAIN[:1])):
        write_photos(photo_set / split, names)
    assert len(opened("photo_set").images) == 5
    assert [image.name for image in opened("photo_set/small").images] == ["small/a.png"]


def test_a_missing_split_is_named_with_the_command_that_brings_it(photo_set: Path) -> None:
    write_photos(photo_set / "train", TRAIN)
    expected = (
        r"corpora/photo_set/set_val \(2 images: some images\) .* does not exist: run `data-prep download photo_set`"
    )
    with pytest.raises(UserError, match=expected):
        opened("photo_set")


def test_a_split_with_another_number_of_images_is_an_error(photo_set: Path) -> None:
    write_photos(photo_set / "train", TRAIN[:2])
    with pytest.raises(
        UserError, match=r"train holds another number of images \(2\) than photo_set/train has \(3: some"
    ):
        opened("photo_set/train")


@pytest.mark.parametrize("reference", ["photo_set/test", "again/test"])
def test_an_unknown_split_of_the_catalogue_is_named(photo_set: Path, reference: str) -> None:
    with pytest.raises(UserError, match="of the catalogue has no split 'test'"):
        opened(reference)


def test_what_is_neither_in_the_catalogue_nor_a_url_is_an_error(configure: Callable[..., None]) -> None:
    configure("corpora", download={"mine": "photos"})
    with pytest.raises(
        UserError, match=r"corpora.download.mine: 'photos' is neither 'catalogue' nor a URL: correct it"
    ):
        opened("mine")


@pytest.mark.parametrize(
    ("reference", "count"), [("BSDS500", 500), ("BSD100", 100), ("Set5", 5), ("Train400", 400), ("LIVE1", 29)]
)
def test_the_sites_copies_of_the_papers_corpora(
    project: Path, site_corpora: Path, monkeypatch: pytest.MonkeyPatch, reference: str, count: int
) -> None:
    monkeypatch.setenv("SCN_CORPORA", str(site_corpora))
    corpus = opened(reference)
    assert len(corpus.images) == count
    assert not any(image.refusal for image in corpus.images)


def test_a_sub_folder_that_cannot_be_read_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pathlib's rglob would pass over it in silence."""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match=r"The folder .*photos/sub can't be read \(Permission denied\)"):
        opened("photos")


def test_links_to_folders_are_followed_and_links_to_nothing_are_named(project: Path) -> None:
    Path("photos/linked").symlink_to(project / "tests")
    Path("photos/sub/loop").symlink_to(project / "photos")
    assert [image.name for image in opened("photos").images][:3] == ["a.png", "c.bmp", "e.png"]
    assert {"linked/one.png", "linked/two.png"} <= {image.name for image in opened("photos").images}
    assert len(opened("photos").images) == 7
    Path("photos/z.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"photos/z.png is not there: put it back"):
        opened("photos")


def test_a_name_that_is_not_utf_8_is_named(project: Path) -> None:
    Path(os.fsdecode(b"photos/caf\xe9.png")).write_bytes(Path("photos/a.png").read_bytes())
    with pytest.raises(UserError, match=r"photos/caf\\udce9.png' is not UTF-8: rename it"):
        opened("photos")


def test_a_site_that_is_no_folder_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCN_CORPORA", "/no/such/site")
    with pytest.raises(UserError, match=r"\$SCN_CORPORA is /no/such/site, which is no folder"):
        opened("Set5")
