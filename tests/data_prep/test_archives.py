"""Archives: unpacking one puts plain files below one folder, or does nothing at all."""

import gzip
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from files_found import files_found

from data_prep.archives import Limits, unpack
from scn.core.errors import UserError
from scn.core.hashing import digest

FILES = {"top/set/a.png": b"first", "top/set/sub/b.JPG": b"second", "top/set/notes.txt": b"text", "top/c.png": b"third"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(content), 0o4777, 12345
            archive.addfile(member, io.BytesIO(content))
    return path


def tgz(path: Path, files: dict[str, bytes]) -> Path:
    return tarred(path, files, "w:gz")


Pack = Callable[[Path, dict[str, bytes]], Path]
PACKERS = pytest.mark.parametrize("pack", [zipped, tarred, tgz])


def there(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@PACKERS
def test_a_folder_at_any_depth_is_unpacked(tmp_path: Path, pack: Pack) -> None:
    archive = pack(tmp_path / "archive", FILES | {"top/set/.hidden": b"", "__MACOSX/top/set/a.png": b"notes"})
    unpack(archive, "set", tmp_path / "out", {"archive": "x"}, images=2)
    origin = tmp_path / "out" / ".origin.json"
    sums = [["a.png", hashlib.sha256(b"first").hexdigest()], ["sub/b.JPG", hashlib.sha256(b"second").hexdigest()]]
    assert json.loads(origin.read_text()) == {"archive": "x", "content": digest(sums)}
    origin.unlink()
    assert there(tmp_path / "out") == {"a.png": b"first", "sub/b.JPG": b"second", "notes.txt": b"text"}
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out/a.png").stat().st_mode) == 0o666 & ~umask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


@PACKERS
def test_the_highest_folder_of_a_name_counts(tmp_path: Path, pack: Pack) -> None:
    archive = pack(tmp_path / "archive", {"z/set/deep/set/a.png": b"deep", "z/set/b.png": b"", "y/y/set/c.png": b""})
    unpack(archive, "set", tmp_path / "out", {})
    assert set(there(tmp_path / "out")) == {"deep/set/a.png", "b.png", ".origin.json"}


@PACKERS
def test_all_of_it_is_unpacked_without_the_folder_it_lies_in(tmp_path: Path, pack: Pack) -> None:
    unpack(pack(tmp_path / "archive", FILES), ".", tmp_path / "out", {})
    assert set(there(tmp_path / "out")) == {"set/a.png", "set/sub/b.JPG", "set/notes.txt", "c.png", ".origin.json"}
    unpack(pack(tmp_path / "archive", {"a.png": b"", "set/b.png": b""}), ".", tmp_path / "out", {})
    assert set(there(tmp_path / "out")) == {"a.png", "set/b.png", ".origin.json"}


def zip_entry(name: str, mode: int = 0, flags: int = 0) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("set/a.png", b"")
            archive.writestr(entry, b"/etc/passwd")
        if flags:  # zipfile itself encrypts nothing
            data = bytearray(path.read_bytes())
            data[data.rindex(b"PK\x01\x02") + 8] |= flags
            path.write_bytes(data)

    return write


def tar_entry(name: str, kind: bytes, link: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, link
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("set/a.png"))
            archive.addfile(entry)

    return write


def compressed_by(method: int) -> Callable[[Path], None]:
    """A member that zipfile would unpack without a limit."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("set/a.png", b"")
            archive.writestr("set/b.png", bytes(10**6), compress_type=method)

    return write


def comments(path: Path) -> None:
    """A header of 64 KiB, which took tarfile seconds."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("set/a.png")
        member.pax_headers = {"comment": "1" * 2**16}
        archive.addfile(member)


def latin_1(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("set/caf\u00e9.png"))


def twice(path: Path) -> None:
    tarred(path, {"set/a.png": b"", "set/./a.png": b"again"})


def nested_under_a_file(path: Path) -> None:
    tarred(path, {"set/a.png": b"", "set/a.png/b.png": b""})


def header_bomb(path: Path) -> None:
    """A comment of 2 GB for the next member, which tarfile would read into memory."""
    header = tarfile.TarInfo("comment")
    header.type, header.size = tarfile.XHDTYPE, 2 * 10**9
    path.write_bytes(gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(10**5)))


MALICIOUS: dict[str, tuple[Callable[[Path], object], str]] = {
    "absolute zip": (zip_entry("/set/evil.png"), "leaves the folder"),
    "upwards zip": (zip_entry("set/../../evil.png"), "leaves the folder"),
    "upwards with backslashes": (zip_entry("set\\..\\..\\evil.png"), "leaves the folder"),
    "a drive": (zip_entry("C:evil.png"), "leaves the folder"),
    "link in a zip": (zip_entry("set/b.png", stat.S_IFLNK | 0o777), "set/b.png, which is a link"),
    "pipe in a zip": (zip_entry("set/b.png", stat.S_IFIFO | 0o666), "set/b.png, which is a device"),
    "encrypted": (zip_entry("set/b.png", flags=1), "set/b.png, which is encrypted"),
    "absolute tar": (tar_entry("/set/evil.png", tarfile.REGTYPE), "leaves the folder"),
    "upwards tar": (tar_entry("../evil.png", tarfile.REGTYPE), "leaves the folder"),
    "link out": (tar_entry("set/b.png", tarfile.SYMTYPE, "/etc/passwd"), "set/b.png, which is a link"),
    "hard link": (tar_entry("set/b.png", tarfile.LNKTYPE, "../../etc/passwd"), "set/b.png, which is a link"),
    "folder that is a link": (tar_entry("set/sub", tarfile.SYMTYPE, "/tmp"), "set/sub, which is a link"),
    "device": (tar_entry("set/b.png", tarfile.CHRTYPE), "set/b.png, which is a device"),
    "pipe": (tar_entry("set/b.png", tarfile.FIFOTYPE), "set/b.png, which is a device"),
    "a name in Latin-1": (
        latin_1,
        r"holds a name that is not UTF-8 \('set/caf\\udce9.png'; pack it again with names in UTF-8\)",
    ),
    "twice": (twice, "holds set/a.png twice"),
    "a file as a folder": (nested_under_a_file, "can't be unpacked"),
    "header bomb": (header_bomb, "has a header of more than 16384 bytes"),
    "long header": (comments, "has a header of more than 16384 bytes"),
    "bzip2": (compressed_by(zipfile.ZIP_BZIP2), "set/b.png, which is compressed by bzip2 and not by deflate"),
    "LZMA": (compressed_by(zipfile.ZIP_LZMA), "set/b.png, which is compressed by LZMA and not by deflate"),
}


@pytest.mark.parametrize("what", MALICIOUS)
def test_what_is_unsafe_is_refused_as_a_whole(tmp_path: Path, what: str) -> None:
    make, expected = MALICIOUS[what]
    folder = tmp_path / "inner"
    folder.mkdir()
    make(folder / "archive")
    with pytest.raises(UserError, match=expected) as error:
        unpack(folder / "archive", "set", folder / "out", {})
    assert str(folder / "archive") in str(error.value)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "archive"]


def test_links_and_devices_elsewhere_in_an_archive_do_not_matter(tmp_path: Path) -> None:
    tar_entry("code/latest", tarfile.SYMTYPE, "v1")(tmp_path / "archive")
    unpack(tmp_path / "archive", "set", tmp_path / "out", {})
    assert set(there(tmp_path / "out")) == {"a.png", ".origin.json"}


LARGE = {f"set/{i}.png": bytes(300_000) for i in range(3)}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"bytes": 800_000}, "unpacks to more than the 800000 bytes that are allowed"),
        ({"ratio": 20, "small": 10_000}, "unpacks to more than the [0-9]+ bytes that are allowed for its size"),
        ({"entries": 2}, "has more than 2 entries"),
    ],
)
@pytest.mark.parametrize("pack", [zipped, tgz])
def test_more_than_images_take_is_refused(tmp_path: Path, pack: Pack, limits: dict[str, int], expected: str) -> None:
    archive = pack(tmp_path / "archive", LARGE)
    with pytest.raises(UserError, match=expected):
        unpack(archive, "set", tmp_path / "out", {}, limits=Limits(**limits))
    unpack(archive, "set", tmp_path / "out", {})
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_limit_holds_for_what_comes_out_whatever_the_headers_say(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive", {"set/a.png": bytes(10**6)})
    data = archive.read_bytes()
    honest = (10**6).to_bytes(4, "little")
    archive.write_bytes(data.replace(honest, (1000).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"archive is damaged, .* \(Bad CRC-32"):
        unpack(archive, "set", tmp_path / "out", {})
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_skipped_members_count_too(tmp_path: Path) -> None:
    archive = tgz(tmp_path / "archive", {"set/a.png": b"", "bomb": bytes(10**6)})
    with pytest.raises(UserError, match="unpacks to more than the 100000 bytes"):
        unpack(archive, "set", tmp_path / "out", {}, limits=Limits(small=10**5, ratio=10))


@PACKERS
def test_an_archive_that_is_cut_short_is_damaged(tmp_path: Path, pack: Pack) -> None:
    archive = pack(tmp_path / "archive", {f"set/{i}.png": os.urandom(2000) for i in range(20)})
    whole = archive.read_bytes()
    for length in (len(whole) // 2, 5 * 2560, 700, 0):
        archive.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"archive (is damaged|is cut short)"):
            unpack(archive, "set", tmp_path / "out", {})
        assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_what_is_no_archive_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("<html>please log in</html>" * 100)
    with pytest.raises(UserError, match="archive is damaged, or neither a zip nor a tar archive"):
        unpack(tmp_path / "archive", "set", tmp_path / "out", {})


def test_missing_folders_and_images_are_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive", FILES)
    with pytest.raises(UserError, match="has no folder set/other: nothing of it was unpacked"):
        unpack(archive, "set/other", tmp_path / "out", {})
    with pytest.raises(UserError, match="holds 2 images in set instead of 100"):
        unpack(archive, "set", tmp_path / "out", {}, images=100)
    assert not (tmp_path / "out").exists()


def test_a_new_version_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    unpack(zipped(tmp_path / "old.zip", {"a.png": b"old", "gone.png": b""}), ".", tmp_path / "out", {})
    with pytest.raises(UserError, match="leaves the folder"):
        unpack(zipped(tmp_path / "bad.zip", {"../a.png": b""}), ".", tmp_path / "out", {})
    assert there(tmp_path / "out")["a.png"] == b"old"
    unpack(zipped(tmp_path / "new.zip", {"a.png": b"new"}), ".", tmp_path / "out", {})
    assert set(there(tmp_path / "out")) == {"a.png", ".origin.json"}
    assert there(tmp_path / "out")["a.png"] == b"new"


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "archive", LARGE)
    monkeypatch.setattr("data_prep.fetch.shutil.disk_usage", lambda _: type("Usage", (), {"free": 899_999}))
    with pytest.raises(UserError, match=r"Unpacking archive needs about 900 kB in .*, and 900 kB are free"):
        unpack(archive, "set", tmp_path / "out", {})
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_killed_midway_it_leaves_nothing_that_passes_for_a_corpus(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive", {f"set/{i}.png": os.urandom(10**6) for i in range(30)})
    program = (
        "import sys, time; from pathlib import Path; from data_prep import archives\n"
        "check = archives._check_size\n"
        "def halts(*arguments):\n"
        "    if len(list(Path(sys.argv[2]).parent.rglob('*.png'))) > 5: time.sleep(600)\n"
        "    check(*arguments)\n"
        "archives._check_size = halts\n"
        "archives.unpack(Path(sys.argv[1]), 'set', Path(sys.argv[2]), {})\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(archive), str(tmp_path / "out")]) as run:
        deadline = time.monotonic() + 300
        while len(files_found(tmp_path, "*.png")) < 5:
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert not (tmp_path / "out").exists()
    unpack(archive, "set", tmp_path / "out", {})
    assert len(list((tmp_path / "out").iterdir())) == 31
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"x.png": b"wrong"}).read_bytes()
    outer = tarred(tmp_path / "outer.tar", {"a/1.png": b"right", "a/inner.zip": inner})
    unpack(outer, ".", tmp_path / "target", {})
    unpacked = there(tmp_path / "target")
    assert (unpacked["1.png"], unpacked["inner.zip"]) == (b"right", inner)


def test_a_tgz_whose_checksum_is_wrong_is_damaged(tmp_path: Path) -> None:
    path = tgz(tmp_path / "a.tgz", {"1.png": b"right" * 100})
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # of the CRC that ends a gzip
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a.tgz is damaged, or .*CRC check failed"):
        unpack(path, ".", tmp_path / "target", {})
    assert not (tmp_path / "target").exists()
