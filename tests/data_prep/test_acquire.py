"""A corpus comes from where params.yaml and the catalogue say, once, and is held to what it was then."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from photo_folder import SIZES, write_photos
from web_server import Server

from data_prep.acquire import acquire
from data_prep.archives import unpack
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.corpora.corpora import content_sha256, open_corpus
from scn.corpora.unpacked import origin_of, seems_current

Known = Callable[..., None]
Configure = Callable[..., None]
OWN = {"photos": "photos", "tests": "tests"}
RAW = ["a.png", "c.bmp", "e.png"]


def archive(folders: Mapping[str, list[str]]) -> bytes:
    """A zip with photographs below folders."""
    write_photos(Path("raw"), sorted(SIZES))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for folder, names in folders.items():
            for name in names:
                opened.writestr(zipfile.ZipInfo(f"{folder}/{name}"), Path("raw", name).read_bytes())
    return file.getvalue()


def bring(name: str) -> list[str]:
    acquire(load_params(), name)
    return [image.name for image in open_corpus(load_params(), name).images]


def split(archives: list[str], inside: str, images: int = 3, **more: object) -> dict[str, object]:
    origins = [{"archive": name, "folder": inside} for name in archives]
    return {"images": images, "tree": "photographs", "origins": origins, **more}


def entry(**splits: object) -> dict[str, object]:
    return {"licence": "free", "use": "test", "splits": splits}


@pytest.fixture
def sets(project: Path, server: Server, known: Known) -> Server:
    """Serves an archive of two sets, one with two splits, and one of a single set."""
    both = server.put("/both.zip", archive({"both/one": RAW, "both/two/train": RAW, "both/two/val": RAW[:1]}))
    single = server.put("/single.zip", archive({"three/train": RAW, "three/val": RAW[:2]}))
    known(
        archives={
            "both.zip": {"urls": [both]},
            "single.zip": {"urls": [server.url("/gone"), single]},
            "single-too.zip": {"urls": [single]},
        },
        one=entry(all=split(["both.zip"], "both/one")),
        two=entry(
            train=split(["both.zip"], "two/train", folder="train"),
            val=split(["both.zip"], "two/val", 1, folder="val"),
        ),
        three=entry(
            train=split(["single.zip"], "three/train", folder="three_train"),
            val=split(["single.zip"], "three/val", 2, folder="three_val", extra=True),
        ),
        four=entry(all=split(["both.zip", "single-too.zip"], "three/train")),
    )
    return server


def test_a_corpus_is_downloaded_once(sets: Server) -> None:
    assert bring("one") == RAW
    assert sorted(path.name for path in Path("corpora/one").iterdir()) == [".origin.json", *RAW]
    asked = len(sets.requests)
    assert bring("one") == RAW
    assert len(sets.requests) == asked


def test_an_archive_of_several_corpora_stays_and_is_not_downloaded_again(sets: Server) -> None:
    bring("one")
    assert Path("corpora/.archives/both.zip").is_file()
    bring("two")
    assert [path for path, _ in sets.requests] == ["/both.zip"]


def test_an_archive_of_one_corpus_is_unpacked_and_deleted(sets: Server) -> None:
    assert bring("three/train") == ["train/a.png", "train/c.bmp", "train/e.png"]
    assert [path for path, _ in sets.requests] == ["/gone", "/single.zip"]
    assert not Path("corpora/.archives/single.zip").exists()
    assert not Path("corpora/three/three_val").exists()  # an extra split


def test_all_splits_of_an_archive_are_unpacked_while_it_is_here(sets: Server) -> None:
    bring("two/val")
    assert len(open_corpus(load_params(), "two/train").images) == 3
    assert [path for path, _ in sets.requests] == ["/both.zip"]


def test_the_next_archive_is_tried_if_one_does_not_hold_the_folder(sets: Server) -> None:
    assert bring("four") == RAW
    assert [path for path, _ in sets.requests] == ["/both.zip", "/single.zip"]


def test_if_all_fail_every_reason_is_told_and_where_to_put_the_images(sets: Server) -> None:
    sets.files.clear()
    expected = (
        r"both.zip can't be downloaded \(.*/both.zip: 404 Not Found\): try again later; single-too.zip can't be .*; "
        r"or put 3 images \(photographs\) of four into .*corpora/four\.$"
    )
    with pytest.raises(UserError, match=expected):
        acquire(load_params(), "four")
    assert not Path("corpora/four").exists()


def test_a_sites_copy_is_not_downloaded(sets: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCN_CORPORA", "site")
    write_photos(Path("site/one"), RAW)
    assert bring("one") == RAW
    assert sets.requests == []


def test_the_first_download_is_recorded_and_held_after(sets: Server, capsys: pytest.CaptureFixture[str]) -> None:
    bring("one")
    content = sets.files["/both.zip"].content
    held = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "url": sets.url("/both.zip")}
    assert json.loads(Path("corpora.lock").read_text()) == {"both.zip": held}
    assert "both.zip: its checksum is in corpora.lock now: commit that file\n" in capsys.readouterr().err

    Path("corpora/.archives/both.zip").unlink()
    sets.put("/both.zip", archive({"both/two/train": RAW, "both/two/val": RAW[:1], "both/one": RAW}), etag='"new"')
    expected = (
        r"both.zip can't be downloaded \(.*: its SHA-256 is .* instead of .*\): try again later, or, if it was meant "
        r"to change, take both.zip out of corpora.lock"
    )
    with pytest.raises(UserError, match=expected):
        acquire(load_params(), "two")
    assert not Path("corpora/two").exists()
    Path("corpora.lock").unlink()
    assert len(bring("two")) == 4


def test_what_turns_out_to_be_no_archive_is_not_recorded_and_not_kept(sets: Server) -> None:
    right = sets.files["/both.zip"].content
    sets.put("/both.zip", b"<html>please log in</html>")
    with pytest.raises(UserError, match=r"both.zip is damaged, or neither a zip nor a tar archive"):
        acquire(load_params(), "one")
    assert not Path("corpora.lock").exists()
    sets.put("/both.zip", right, etag='"right"')
    assert bring("one") == RAW


def test_a_lock_file_that_cannot_be_read_is_named(sets: Server) -> None:
    Path("corpora.lock").write_text("<<<<<<< HEAD")
    with pytest.raises(UserError, match=r"corpora.lock can't be read: restore it from git"):
        acquire(load_params(), "one")


def test_a_process_waits_for_another_one_that_brings_the_same(
    sets: Server, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    command, goes_on = [sys.executable, "-m", "data_prep", "download", "mine"], threading.Event()
    configure("corpora", download={"mine": sets.put("/slow.zip", sets.files["/both.zip"].content, goes_on=goes_on)})
    with ThreadPoolExecutor(2) as both:
        other = both.submit(subprocess.run, command, capture_output=True, text=True)
        while not sets.requests and not other.done():
            time.sleep(0.01)
        brought, told = both.submit(bring, "mine"), ""
        while not told and not brought.done():
            told = capsys.readouterr().err
        goes_on.set()
        done = other.result()
        assert (len(brought.result()), done.returncode, done.stdout) == (7, 0, "mine: 7 images\n"), done.stderr
    assert [path for path, _ in sets.requests] == ["/slow.zip"]
    assert told + capsys.readouterr().err == "mine: waiting for another process that downloads it\n"


def test_a_url_of_ones_own(sets: Server, configure: Configure) -> None:
    content = archive({"mine/train": RAW, "mine/val": RAW[:1]})
    url = sets.put("/mine.zip", content)
    configure("corpora", download={"mine": url})
    assert bring("mine") == ["train/a.png", "train/c.bmp", "train/e.png", "val/a.png"]
    assert [image.name for image in open_corpus(load_params(), "mine/val").images] == ["val/a.png"]
    assert json.loads(Path("corpora.lock").read_text())[url]["sha256"] == hashlib.sha256(content).hexdigest()
    assert not list(Path("corpora/.archives").glob("*.zip"))
    bring("mine")
    assert len(sets.requests) == 1


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_url_may_carry_its_checksum(sets: Server, configure: Configure, kind: str) -> None:
    content = archive({"mine": RAW})
    url = sets.put("/mine.zip", content)
    configure("corpora", download={"mine": f"{url}#{kind}={hashlib.new(kind, content).hexdigest()}"})
    assert bring("mine") == RAW
    configure("corpora", download={"other": f"{url}#{kind}={hashlib.new(kind, b'').hexdigest()}"})
    with pytest.raises(UserError, match=r"its (SHA-256|MD5) is .* instead of"):
        acquire(load_params(), "other")


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_another_checksum_of_a_url_is_another_archive(sets: Server, configure: Configure, kind: str) -> None:
    old, new = archive({"mine": RAW}), archive({"mine": RAW[:2]})
    url = sets.put("/mine.zip", old)
    configure("corpora", download={"mine": f"{url}#{kind}={hashlib.new(kind, old).hexdigest()}"})
    assert bring("mine") == RAW
    sets.put("/mine.zip", new, etag='"new"')
    configure("corpora", download={"mine": f"{url}#{kind}={hashlib.new(kind, new).hexdigest()}"})
    if kind == "md5":  # what the first download recorded stands against it
        with pytest.raises(
            UserError, match=rf"it has \d+ bytes instead of .* if it was meant to change, take {url} out of .*\.lock"
        ):
            acquire(load_params(), "mine")
        Path("corpora.lock").unlink()
    assert bring("mine") == RAW[:2]
    asked = len(sets.requests)
    assert bring("mine") == RAW[:2]
    configure("corpora", download={"mine": url})
    assert bring("mine") == RAW[:2]
    assert len(sets.requests) == asked


def test_an_md5_that_an_older_version_did_not_note_is_verified_once(sets: Server, configure: Configure) -> None:
    content = archive({"mine": RAW})
    url = sets.put("/mine.zip", content)
    configure("corpora", download={"mine": url})  # as the origin of an older version, which has no MD5 either
    assert bring("mine") == RAW
    assert bring("mine") == RAW
    assert len(sets.requests) == 1
    configure("corpora", download={"mine": f"{url}#md5={hashlib.md5(content).hexdigest()}"})
    assert bring("mine") == RAW
    assert bring("mine") == RAW
    assert len(sets.requests) == 2


def test_what_another_machine_recorded_replaces_what_was_downloaded(sets: Server, configure: Configure) -> None:
    new = archive({"mine": RAW[:2]})
    url = sets.put("/mine.zip", archive({"mine": RAW}))
    configure("corpora", download={"mine": url})
    bring("mine")
    held = json.loads(Path("corpora.lock").read_text())
    held[url] |= {"bytes": len(new), "sha256": hashlib.sha256(new).hexdigest()}
    Path("corpora.lock").write_text(json.dumps(held))
    with pytest.raises(UserError, match=r"it has \d+ bytes instead of"):
        acquire(load_params(), "mine")
    sets.put("/mine.zip", new, etag='"new"')
    assert bring("mine") == RAW[:2]


@pytest.mark.parametrize("checksum", ["sha256=12", "crc=1234", "something"])
def test_a_wrong_checksum_of_a_url_is_named(project: Path, configure: Configure, checksum: str) -> None:
    configure("corpora", download={"mine": f"http://127.0.0.1:9/mine.zip#{checksum}"})
    with pytest.raises(UserError, match=rf"corpora.download.mine: '#{checksum}' is no checksum: write #sha256="):
        acquire(load_params(), "mine")


def test_another_url_replaces_what_was_downloaded_and_nothing_else(sets: Server, configure: Configure) -> None:
    configure("corpora", download={"mine": sets.put("/old.zip", archive({"mine": RAW}))})
    bring("mine")
    configure("corpora", download={"mine": sets.put("/new.zip", archive({"mine": RAW[:2]}))})
    assert bring("mine") == RAW[:2]
    Path("corpora/mine/.origin.json").unlink()  # now it may be somebody's own
    configure("corpora", download={"mine": sets.url("/old.zip")})
    assert bring("mine") == RAW[:2]


def test_an_archive_of_ones_own_is_unpacked_once_and_anew_when_it_changed(project: Path, configure: Configure) -> None:
    configure("corpora", local={**OWN, "mine": "mine.zip"})
    Path("mine.zip").write_bytes(archive({"mine/train": RAW, "mine/val": RAW[:1]}))
    with pytest.raises(UserError, match=r"mine.zip of the corpus 'mine' is not unpacked, or changed since: run `data"):
        open_corpus(load_params(), "mine")
    assert len(bring("mine")) == 4
    unpacked = Path("corpora/mine").stat().st_ino
    Path("mine.zip").touch()
    assert len(bring("mine/train")) == 3
    assert Path("corpora/mine").stat().st_ino == unpacked

    Path("mine.zip").write_bytes(archive({"mine": RAW[:2]}))
    with pytest.raises(UserError, match="is not unpacked, or changed since"):
        open_corpus(load_params(), "mine")
    assert bring("mine") == RAW[:2]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough to be known again by their stamps."""
    monkeypatch.setattr("scn.corpora.hash_cache.SETTLED_NS", -1_000_000_000)


def test_an_archive_with_the_size_and_time_of_another_is_another(
    project: Path, configure: Configure, at_once: None
) -> None:
    configure("corpora", local={**OWN, "mine": "mine.zip"})
    Path("mine.zip").write_bytes(archive({"mine/aa": RAW, "mine/cc": RAW[:1]}))
    assert bring("mine")[0] == "aa/a.png"
    before = Path("mine.zip").stat()
    Path("new.zip").write_bytes(archive({"mine/bb": RAW, "mine/cc": RAW[:1]}))
    os.utime("new.zip", ns=(before.st_atime_ns, before.st_mtime_ns))
    Path("new.zip").replace("mine.zip")
    now = Path("mine.zip").stat()
    assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(UserError, match="is not unpacked, or changed since"):
        open_corpus(load_params(), "mine")
    assert bring("mine")[0] == "bb/a.png"


def test_an_archive_that_only_seems_changed_is_hashed_once(
    project: Path, configure: Configure, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("corpora", local={**OWN, "mine": "mine.zip"})
    Path("mine.zip").write_bytes(archive({"mine": RAW}))
    bring("mine")
    folder = Path("corpora/mine").stat().st_ino
    Path("mine.zip").touch()
    bring("mine")
    monkeypatch.setattr("data_prep.acquire.file_sha256", pytest.fail)
    monkeypatch.setattr("scn.corpora.unpacked.file_sha256", pytest.fail)
    assert bring("mine") == RAW
    assert Path("corpora/mine").stat().st_ino == folder


def test_two_at_once_unpack_an_archive_of_ones_own_once(
    project: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("corpora", local={**OWN, "mine": "mine.zip"})
    Path("mine.zip").write_bytes(archive({"mine": RAW}))
    both, seen, unpacked = threading.Barrier(2, timeout=60), threading.local(), list[Path]()

    def looks_when_the_other_does(file: Path, target: Path) -> bool:
        current = seems_current(file, target)
        if not hasattr(seen, "once"):
            seen.once = both.wait()
        return current

    def counted(file: Path, folder: str, target: Path, about: Mapping[str, object]) -> None:
        unpack(file, folder, target, about)
        unpacked.append(target)

    monkeypatch.setattr("data_prep.acquire.seems_current", looks_when_the_other_does)
    monkeypatch.setattr("data_prep.acquire.unpack", counted)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(acquire, [load_params()] * 2, ["mine"] * 2)) == [None, None]
    assert len(unpacked) == 1


def test_an_archive_is_not_unpacked_over_a_folder_of_somebody_else(project: Path, configure: Configure) -> None:
    configure("corpora", local={**OWN, "mine": "mine.zip"})
    Path("mine.zip").write_bytes(archive({"mine": RAW}))
    write_photos(Path("corpora/mine"), RAW[:1])
    with pytest.raises(UserError, match=r"corpora/mine, where .*mine.zip would be unpacked, .*: move it away"):
        acquire(load_params(), "mine")
    assert [path.name for path in Path("corpora/mine").iterdir()] == RAW[:1]


def test_where_a_folder_came_from_is_written_in_it(sets: Server) -> None:
    bring("two")
    origin = origin_of(Path("corpora/two/train"))
    assert (origin["archive"], origin["url"]) == ("both.zip", sets.url("/both.zip"))
    images = open_corpus(load_params(), "two/train").images
    assert origin["content"] == content_sha256(images, "train/")


def test_a_root_that_cannot_be_made_is_one_sentence(sets: Server, configure: Configure) -> None:
    Path("file").touch()
    configure("corpora", root="file/corpora")
    with pytest.raises(UserError, match=r"file/corpora/.archives can't be made \(.*\): choose another corpora.root"):
        acquire(load_params(), "one")


def test_what_was_unpacked_and_changed_since_is_named(project: Path, configure: Configure) -> None:
    Path("mine.zip").write_bytes(archive({"mine": RAW}))
    configure("corpora", local={**OWN, "mine": "mine.zip"})
    bring("mine")
    Path("corpora/mine", RAW[0]).unlink()
    with pytest.raises(UserError, match=r"corpora/mine are no longer what was unpacked: remove the folder and run"):
        open_corpus(load_params(), "mine")


def test_a_users_name_in_a_url_is_refused(project: Path, configure: Configure) -> None:
    configure("corpora", download={"theirs": "https://me:secret@example.org/a.zip"})
    with pytest.raises(UserError, match=r"corpora.download.theirs holds a user's name.* ~/.netrc") as caught:
        bring("theirs")
    assert "secret" not in str(caught.value)
