"""Files are read once: not again while they are as they were."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.check import check
from data_prep.prepare import make_manifests
from scn.config.params import load_params
from scn.core.errors import UserError
from scn.corpora import reading
from scn.corpora.corpora import Corpus, open_corpus
from scn.corpora.hash_cache import SETTLED_NS, Facts, HashCache, settled

DATABASE = Path(".scn/hashes/files.sqlite")
FACTS = Facts("0" * 64, 1, 2, 3, "RGB", None)


@pytest.fixture
def read(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on; those of the project count as old enough to be remembered."""
    names: list[str] = []
    original = reading.read_file

    def counted(path: str) -> bytes:
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr("scn.corpora.reading.read_file", counted)
    monkeypatch.setattr("scn.corpora.hash_cache.SETTLED_NS", -1_000_000_000)
    return names


def opened(**how: bool) -> Corpus:
    return open_corpus(load_params(), "photos", **how)


def changed_behind_its_times(path: Path) -> None:
    """Changes a byte of a file and sets back its time of change, as `touch --reference` does."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # a file system's clock ticks every few milliseconds
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_what_has_not_changed_is_not_read_again(read: list[str]) -> None:
    Path("photos/fake.jpg").write_bytes(b"<html>404</html>")
    first = opened()
    assert sorted(read) == ["a.png", "b.png", "c.bmp", "d.PNG", "e.png", "fake.jpg"]
    read.clear()
    assert opened() == first
    assert read == []
    changed_behind_its_times(Path("photos/e.png"))
    Path("photos/new.png").write_bytes(Path("photos/a.png").read_bytes())
    second = opened()
    assert sorted(read) == ["e.png", "new.png"]
    assert second.sha256 != first.sha256


def test_ten_experiments_read_a_corpus_once(read: list[str]) -> None:
    make_manifests(load_params(), "sr-x2", workers=0)
    assert len(read) == 7
    for experiment in ("sr-x4", "dn-s25", "car-q10"):
        make_manifests(load_params(), experiment, workers=0)
    assert len(read) == 7


def test_a_copy_that_is_reached_by_a_link_is_the_same(read: list[str], project: Path) -> None:
    Path("photos/fake.jpg").write_bytes(b"<html>404</html>")
    first = opened()
    (project / "clone/.scn").mkdir(parents=True)
    for name in ("photos", ".scn/hashes", "params.yaml"):
        (project / "clone" / name).symlink_to(project / name)
    read.clear()
    in_clone = open_corpus(load_params(project / "clone/params.yaml"), "photos")
    assert read == []
    assert in_clone.sha256 == first.sha256
    refusal = next(image.refusal for image in in_clone.images if image.refusal)
    assert f"{project}/clone/photos/fake.jpg is no image" in refusal


def test_a_file_that_has_just_changed_is_read_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    os.utime("photos/a.png", ns=(now, now + 1))
    status = Path("photos/a.png").stat()
    latest = max(status.st_mtime_ns, status.st_ctime_ns)
    assert not settled(status, latest + SETTLED_NS)
    assert settled(status, latest + SETTLED_NS + 1)
    os.utime("photos/a.png", ns=(now, now + 10**15))  # in the future
    opened()
    monkeypatch.setattr("scn.corpora.reading.read_file", lambda path: pytest.fail(path))
    with pytest.raises(pytest.fail.Exception, match=r"photos/a.png"):
        opened()


def test_check_reads_every_file_and_names_what_changed_behind_its_times(read: list[str]) -> None:
    right = opened()
    with sqlite3.connect(DATABASE) as database:
        database.execute("UPDATE files SET sha256 = ? WHERE path LIKE '%/a.png'", ("0" * 64,))
    assert opened().sha256 != right.sha256
    with pytest.raises(UserError, match=r"a.png changed .*, or is damaged: run `data-prep check` on its corpus"):
        opened().images[0].read()
    read.clear()
    (finding,) = check(load_params(), "photos")
    assert len(read) == 5
    (problem,) = finding.problems
    assert "photos/a.png holds something else than when it was last read" in problem
    assert opened() == right
    assert next(check(load_params(), "photos")).problems == ()


def test_other_code_that_reads_headers_reads_all_again(read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened()
    monkeypatch.setattr("scn.corpora.hash_cache._code", lambda: "another")
    opened()
    assert len(read) == 10


def test_a_damaged_cache_is_made_anew(read: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    first = opened()
    DATABASE.write_bytes(b"no database" * 1000)
    assert opened() == first
    assert len(read) == 10
    assert opened() == first
    assert (len(read), capsys.readouterr().err) == (10, "")


def test_without_a_place_for_the_cache_it_is_told_and_all_is_read(
    read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".scn").write_text("")
    assert opened() == opened()
    assert len(read) == 10
    assert "files.sqlite can't be used (" in capsys.readouterr().err.splitlines()[0]


def test_processes_share_the_cache(tmp_path: Path) -> None:
    with HashCache(tmp_path) as one, HashCache(tmp_path) as other:
        one.add([("a", "1", FACTS), ("b", "1", FACTS)])
        other.add([("b", "2", FACTS), ("c", "2", FACTS)])
    with HashCache(tmp_path) as again:
        known = again.known(["a", "b", "c", "d"])
    assert {path: stamp for path, (stamp, _) in known.items()} == {"a": "1", "b": "1", "c": "2"}
    assert {facts for _, facts in known.values()} == {FACTS}


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no devices as files here")
def test_a_link_to_a_device_or_a_pipe_is_named_and_not_waited_for(project: Path) -> None:
    os.mkfifo(project / "pipe")
    for target in ("/dev/zero", project / "pipe"):
        link = Path("photos/endless.png")
        link.symlink_to(target)
        with pytest.raises(UserError, match=r"photos/endless.png leads to no file, but to a device or a pipe: take it"):
            opened()
        link.unlink()


def test_a_link_to_itself_and_a_file_that_vanishes_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("photos/self.png").symlink_to("self.png")
    with pytest.raises(UserError, match=r"photos/self.png can't be read \(Too many levels of symbolic links\)"):
        opened()
    Path("photos/self.png").unlink()
    listing = reading.carry_out

    def vanishes(function: Callable, *arguments: object, **options: object) -> object:
        Path("photos/a.png").unlink()
        return listing(function, *arguments, **options)

    monkeypatch.setattr("scn.corpora.reading.carry_out", vanishes)
    with pytest.raises(UserError, match=r"photos/a.png is not there: put it back or take it out"):
        opened()
