"""What `scn restore IN... OUT` is to do: names of results, what is done, what is left out, what is refused."""

import os
from pathlib import Path

import pytest

from scn.core.errors import UserError
from scn.imaging.formats import FORMATS, can
from scn.inference.inputs import plan

ENDINGS = ", ".join(suffix for each in FORMATS.values() if can(each) for suffix in each.suffixes)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of these names, which hold nothing, from which commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/b.JPG", "photos/Thumbs.db", "photos/.hidden.png", "photos/sub/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def targets(*arguments: str, **options: object) -> dict[str, str]:
    """Source -> target of a command."""
    *sources, target = arguments
    return {job.name: str(job.target or "-") for job in plan(sources, target, **options).jobs}  # type: ignore[arg-type]


def test_files_folders_and_patterns(photos: Path) -> None:
    assert targets("photos/a.png", "new.tif") == {"photos/a.png": "new.tif"}
    assert targets("photos/a.png", "new/") == {"photos/a.png": "new/a.png"}
    both = {"photos/a.png": "new/a.png", "photos/b.JPG": "new/b.png"}
    assert targets("photos/a.png", "photos/b.JPG", "new") == both
    assert targets("photos", "new") == both
    assert targets("photos/[ab].*", "new") == both
    assert targets("photos/a.*", "new") == {"photos/a.png": "new/a.png"}
    options = {"as_format": "tif", "suffix": "-x2"}
    assert targets("photos/a.png", "photos", "new", **options)["photos/b.JPG"] == "new/b-x2.tif"


def test_a_tree_is_kept_and_what_is_no_image_is_named(photos: Path) -> None:
    flat = plan(["photos"], "new")
    assert flat.left_out == ["Thumbs.db", "sub/ (--recursive takes it)"]
    tree = plan(["photos"], "new", recursive=True)
    assert [str(job.target) for job in tree.jobs] == ["new/a.png", "new/b.png", "new/sub/c.png"]
    assert tree.left_out == ["Thumbs.db"]
    (photos / "done").mkdir()
    (photos / "done" / "a.png").write_bytes(b"")
    inside = plan(["photos"], "photos/done", recursive=True, overwrite=True)
    assert [job.name for job in inside.jobs] == ["photos/a.png", "photos/b.JPG", "photos/sub/c.webp"]


def test_two_of_one_name_keep_the_whole_of_it(photos: Path) -> None:
    (photos / "a.jpg").write_bytes(b"")
    found = targets("photos", "new")
    assert found["photos/a.png"] == "new/a.png.png"
    assert found["photos/a.jpg"] == "new/a.jpg.png"
    assert found["photos/b.JPG"] == "new/b.png"


def test_what_is_done_is_skipped(photos: Path) -> None:
    new = photos.parent / "new"
    new.mkdir()
    (new / "a.png").write_bytes(b"")
    (new / "b.png").write_bytes(b"")
    os.utime(new / "b.png", (0, 0))  # older than its source
    found = plan(["photos"], "new")
    assert found.already == [Path("new/a.png")]
    assert "photos/b.JPG (new/b.png is older: --overwrite replaces it)" in found.left_out
    assert found.jobs == []
    assert len(plan(["photos"], "new", overwrite=True).jobs) == 2
    with pytest.raises(UserError, match=r"new/a\.png is there already: --overwrite replaces it, or name another file"):
        plan(["photos/a.png"], "new/a.png")
    assert len(plan(["photos/a.png"], "new/a.png", overwrite=True).jobs) == 1


def test_a_file_that_has_nothing_to_do_with_it_stays(photos: Path) -> None:
    """`scn restore b.JPG photos`, where a photograph b.png lies that is older; and what comes through a pipe."""
    for name in ("b.png", "stdin.png"):
        (photos / name).write_bytes(b"")
        os.utime(photos / name, (0, 0))
    found = plan(["photos/b.JPG"], "photos")
    assert (found.jobs, len(found.left_out)) == ([], 1)
    with pytest.raises(UserError, match=r"photos/stdin\.png is there already: --overwrite replaces it"):
        plan(["-"], "photos")


def test_a_pipe_in_a_folder_is_not_waited_for(photos: Path) -> None:
    os.mkfifo(photos / "pipe.png")
    found = plan(["photos"], "new")
    assert "pipe.png" in found.left_out
    assert "photos/pipe.png" not in [job.name for job in found.jobs]
    with pytest.raises(UserError, match=r"pipe\.png is a pipe or a device: name a file, or - for"):
        plan(["photos/pipe.png"], "new.png")


def test_a_photograph_that_was_not_meant_as_the_result_stays(photos: Path) -> None:
    """`scn restore *` of two photographs, with the place of the results forgotten."""
    with pytest.raises(UserError, match=r"b\.JPG is there already"):
        plan(["photos/a.png"], "photos/b.JPG")
    (photos / "c.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"c\.png is a file, and the results of 2 images go into a folder"):
        plan(["photos/a.png", "photos/b.JPG"], "photos/c.png")


def test_a_link_takes_no_photographs_place(photos: Path) -> None:
    (photos / "a").mkdir()
    (photos / "a" / "link.webp").symlink_to(photos / "sub" / "c.webp")
    (photos / "a" / "loop").symlink_to(photos)
    found = plan(["photos"], "new", recursive=True)
    assert [str(job.target) for job in found.jobs] == ["new/a.png", "new/b.png", "new/sub/c.png"]
    assert found.left_out == ["Thumbs.db"]


def test_pipes(photos: Path) -> None:
    assert targets("-", "-", as_format="jpg") == {"the standard input": "-"}
    assert targets("-", "out.png") == {"the standard input": "out.png"}
    assert targets("photos/a.png", "-") == {"photos/a.png": "-"}
    assert plan(["-"], "-").jobs[0].as_format.name == "PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", "out.png"], r"missing\.png does not exist: name an image or a folder"),
        (["photos/x*.png", "out"], r"photos/x\*\.png matches no file"),
        (["empty", "out"], r"empty holds no images: put the images"),
        (["deep", "out"], r"deep holds no images: .*; --recursive takes sub-folders"),
        (["photos/a.png", "photos/a.png"], r"a\.png would replace the image it is made from"),
        (["photos/a.png", "link.png"], r"link\.png would replace the image it is made from"),
        (["photos/a.png", "photos"], r"a\.png would replace the image it is made from"),
        (["photos", "photos/a.png"], r"photos/a\.png is a file, and the results of 2 images go into a folder"),
        (
            ["photos", "new.png"],
            r"new\.png names a file, and the results of 2 images go into a folder: name",
        ),
        (["photos/a.png", "out.docx"], rf"out\.docx names no format that .*: end its name in one of {ENDINGS}\.$"),
        (["photos/a.png", "out"], r"out names no format that can be written"),
        (["photos", "-"], r"The standard output takes one image, not 2: name a folder"),
        (["photos/a.png", "other/a.png", "out"], r"other/a\.png|would both become"),
    ],
)
def test_mistakes_get_one_sentence(photos: Path, arguments: list[str], message: str) -> None:
    (photos.parent / "empty").mkdir()
    (photos.parent / "deep" / "sub").mkdir(parents=True)
    (photos.parent / "link.png").symlink_to(photos / "a.png")
    with pytest.raises(UserError, match=message) as caught:
        plan(arguments[:-1], arguments[-1], overwrite=True)
    assert "\n" not in str(caught.value)


def test_results_do_not_come_among_the_images(photos: Path) -> None:
    """The next time they would be images to restore."""
    with pytest.raises(UserError, match=r"photos/ holds the images themselves, and the next time results"):
        plan(["photos"], "photos/")
    assert len(plan(["photos"], "photos", suffix="_x").jobs) == 2


def test_a_suffix_names_no_folder(photos: Path) -> None:
    with pytest.raises(UserError, match=r"--suffix: '/\.\./\.\./evil' would name another folder"):
        plan(["photos"], "new", suffix="/../../evil")


def test_a_suffix_is_not_for_a_result_that_is_named(photos: Path) -> None:
    (image, *_) = sorted(photos.glob("*.png"))
    with pytest.raises(UserError, match=r"--suffix is for the names of results in a folder, and new\.png has its name"):
        plan([str(image)], "new.png", suffix="_x2")


def test_formats_that_contradict_each_other(photos: Path) -> None:
    with pytest.raises(UserError, match=r"new\.tif names TIFF and --format PNG: leave one of them out"):
        plan(["photos/a.png"], "new.tif", as_format="png")
    with pytest.raises(UserError, match="'gif' is no format of images here: use one of png, jpg, tif"):
        plan(["photos/a.png"], "new", as_format="gif")
    assert targets("photos/a.png", "new", as_format="jpeg") == {"photos/a.png": "new"}
