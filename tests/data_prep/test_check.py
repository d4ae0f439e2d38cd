"""`data-prep check` and `data-prep list`: the corpora that are here, and whether they are complete and unchanged."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from photo_folder import write_photos
from PIL import Image

from data_prep.acquire import acquire
from data_prep.check import Finding, check, rows
from data_prep.fetch import readable
from scn.config.params import load_params
from scn.corpora.corpora import content_sha256, open_corpus
from scn.corpora.hash_cache import stamp
from scn.corpora.places import files_below

Known = Callable[..., None]
Configure = Callable[..., None]
NAMES = ["a.png", "c.bmp"]


def found(reference: str) -> list[Finding]:
    return list(check(load_params(), reference))


def entry(content: str | None = None) -> dict[str, object]:
    split = {"images": 2, "tree": "a.png, c.bmp", "folder": "set_train", "content": content}
    return {"licence": "free", "use": "test", "splits": {"train": split, "val": {**split, "folder": "set_val"}}}


@pytest.fixture
def two(project: Path, known: Known) -> Path:
    """The folder of a corpus of two splits, whose content the catalogue knows."""
    known(two=entry())
    write_photos(Path("corpora/two/train"), NAMES)
    write_photos(Path("corpora/two/val"), NAMES)
    images = open_corpus(load_params(), "two/train").images
    known(two=entry(content_sha256(images, "train/")))
    return Path("corpora/two")


def test_the_usual_copy_is_verified_whatever_its_folder_is_called(two: Path) -> None:
    (two / "val").rename(two / "set_val")
    assert [(finding.title, finding.problems) for finding in found("two")] == [("two/train", ()), ("two/val", ())]
    assert found("two")[1].summary == "2 images in corpora/two/set_val, the usual copy, verified"


def test_another_file_format_is_no_problem_but_is_said(two: Path) -> None:
    Image.open(two / "train/a.png").save(two / "train/a.bmp")
    (two / "train/a.png").unlink()
    (finding,) = found("two/train")
    assert finding.problems == ()
    assert finding.summary.endswith("another copy than the usual one, or in another file format")


def test_every_missing_or_wrong_split_is_named_with_what_is_expected(two: Path) -> None:
    (two / "train/a.png").unlink()
    shutil.rmtree(two / "val")
    problems = [problem for finding in found("two") for problem in finding.problems]
    assert len(problems) == 2
    assert "train holds another number of images (1) than two/train has (2: a.png, c.bmp): complete it" in problems[0]
    assert "corpora/two/set_val (2 images: a.png, c.bmp) of the corpus 'two/val' does not exist" in problems[1]
    assert "run `data-prep download two/val`" in problems[1]


def test_images_that_cannot_be_used_are_problems(two: Path) -> None:
    (two / "train/a.png").write_bytes(b"no image")
    (finding,) = found("two/train")
    assert len(finding.problems) == 1
    assert "train/a.png is no image" in finding.problems[0]


@pytest.fixture
def mine(project: Path, configure: Configure) -> None:
    """An archive of one's own, mine.zip, that is unpacked."""
    configure("corpora", local={"photos": "photos", "tests": "tests", "mine": "mine.zip"})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a.png", "e.png"):
            archive.write(Path("photos", name), f"mine/{name}")
    Path("mine.zip").write_bytes(file.getvalue())
    acquire(load_params(), "mine")


def test_an_archive_that_changed_behind_its_times_is_named(mine: None) -> None:
    data = bytearray(Path("mine.zip").read_bytes())
    data[-1] ^= 1
    Path("mine.zip").write_bytes(data)
    origin = Path("corpora/mine/.origin.json")
    about = json.loads(origin.read_text()) | {"stamp": stamp(Path("mine.zip").stat())}  # as if the disk had decayed
    origin.write_text(json.dumps(about))
    damaged, images = found("mine")
    assert (damaged.title, damaged.summary) == ("mine", "")
    (problem,) = damaged.problems
    assert (
        "mine.zip holds something else than when it was unpacked, although its size and times are the same" in problem
    )
    assert images.problems == ()


def test_what_was_unpacked_here_is_compared_with_that(mine: None) -> None:
    assert found("mine")[0].summary == "2 images in corpora/mine, as unpacked from mine.zip"
    shutil.copy("photos/c.bmp", "corpora/mine/e.png")
    (finding,) = found("mine")
    assert len(finding.problems) == 1
    assert finding.problems[0].endswith(
        "corpora/mine is no longer what was unpacked from mine.zip: remove it and run `data-prep download mine`."
    )


def test_a_folder_and_a_package_can_be_checked(project: Path) -> None:
    assert found("photos")[0].summary == "5 images in photos, with nothing to compare the content with"
    assert found("sample")[0].summary == "13 images in an installed package, each as the catalogue lists it"


def test_the_table_names_every_corpus(two: Path, configure: Configure) -> None:
    url = "http://127.0.0.1:9/own.zip"
    configure("corpora", download={"own": f"{url}#sha256={'0' * 64}"})
    shutil.rmtree(two / "val")
    table = {row[0]: row[1:] for row in rows(load_params())}
    assert table["photos"][0] == "5"
    assert table["photos"][-1] == "photos"
    assert table["two"][0] == "4"
    assert table["two"][2:] == ("free", "test", "partly corpora/two")
    assert table["own"] == ("?", "0 bytes", "your own", url, "-")
    assert [row[-1] for row in rows(load_params())].index("-") == len(table) - 1  # what is here comes first


def test_the_table_tells_an_archive_that_is_not_unpacked_from_one_that_is_missing(
    project: Path, configure: Configure
) -> None:
    Path("mine.zip").touch()
    configure("corpora", local={"photos": "photos", "tests": "tests", "mine": "mine.zip", "gone": "gone.zip"})
    table = {row[0]: row[-1] for row in rows(load_params())}
    assert (table["mine"], table["gone"]) == ("mine.zip, not unpacked", "-")


def test_the_table_counts_the_images_that_are_used(project: Path) -> None:
    write_photos(Path("photos/.trash"), ["a.png"])
    write_photos(Path("elsewhere"), NAMES)
    Path("photos/linked").symlink_to(Path("elsewhere").absolute())
    Path("photos/gone.png").symlink_to("nowhere.png")
    own = {row[0]: row for row in rows(load_params())}["photos"]
    used = [
        *(path for path in Path("photos").rglob("[a-e].*") if ".trash" not in path.parts),
        *Path("elsewhere").iterdir(),
    ]
    assert own[1:3] == ("7", readable(sum(path.stat().st_size for path in used)))


def test_a_folder_that_cannot_be_read_does_not_keep_the_table_from_the_others(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(folder: Path) -> Iterator[str]:
        if folder.name == "photos":
            raise PermissionError(13, "Permission denied", str(folder))
        return files_below(folder)

    monkeypatch.setattr("data_prep.check.files_below", refuses)
    table = {row[0]: row[1] for row in rows(load_params())}
    assert (table["photos"], table["tests"]) == ("?", "2")


def test_a_missing_folder_of_ones_own_is_not_told_to_be_downloaded(project: Path) -> None:
    shutil.rmtree("photos")
    (finding,) = found("photos")
    assert finding.problems[0].endswith(
        "photos of the corpus 'photos' does not exist: put images there or correct corpora.local.photos in params.yaml."
    )


def test_a_download_that_is_not_here_shows_its_size(project: Path) -> None:
    table = {row[0]: row[1:] for row in rows(load_params())}
    assert table["DIV2K"] == ("900", "4.0 GB", "academic research only", "sr training (SCN 4.1)", "-")
    assert table["sample"][:2] == ("13", "4.2 MB")
    assert table["sample"][-1] == "the package skimage"
    assert table["Set12"][1] == "?"


@pytest.mark.parametrize("reference", ["Set5", "Set14", "BSDS500", "BSD68", "LIVE1", "T91", "classic5", "Train400"])
def test_the_sites_copies_are_the_usual_ones(
    project: Path, site_corpora: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.setenv("SCN_CORPORA", str(site_corpora))
    findings = found(reference)
    assert findings
    for finding in findings:
        assert finding.problems == ()
        assert finding.summary.endswith("the usual copy, verified")
