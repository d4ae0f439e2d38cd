"""Unpacks zip and tar archives without trusting them.

An archive is refused as a whole if anything in it would leave the folder, is a link or a device, or unpacks to more
than images would. Only regular files are written, with the default mode of new files. The folder gets its name when all
files are in it.
"""

import gzip
import hashlib
import json
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from data_prep.fetch import check_space
from scn.core.errors import UserError
from scn.core.files import replace_folder
from scn.core.hashing import digest
from scn.corpora.places import is_image
from scn.corpora.unpacked import ORIGIN

_CHUNK = 2**20
_LONGEST_HEADER = 2**14  # bytes; tarfile reads one as a whole, in a time that may grow with the square of its size
_PACKINGS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of what an archive may hold."""

    entries: int = 1_000_000
    """Largest number of entries."""
    bytes: int = 2 * 10**12
    """Largest number of bytes after unpacking."""
    ratio: int = 100
    """Largest number of unpacked bytes for each byte of the archive; images hardly shrink."""
    small: int = 2**26
    """Unpacked bytes up to which `ratio` does not apply: flat pictures may shrink a lot."""

    def most(self, packed: int) -> int:
        """Most bytes that an archive of `packed` bytes may unpack to."""
        return min(self.bytes, max(self.small, self.ratio * packed))


LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class _Member:
    """An entry of an archive that is no folder."""

    name: PurePosixPath
    bytes: int
    """Size in bytes, as its header says."""
    problem: str
    """Reason why it can't be unpacked; "" if there is none."""
    entry: Any


class _RefusedError(Exception):
    """An archive is refused; the message says what is wrong with it."""


def unpack(
    archive: Path,
    folder: str,
    target: Path,
    about: Mapping[str, object],
    *,
    images: int | None = None,
    limits: Limits = LIMITS,
) -> None:
    """Unpacks the files below a folder of an archive into the folder `target`, whose parent exists.

    Hidden files are left out. If `target` exists it is replaced.

    Args:
        folder: name of the folder, which may lie at any depth of the archive (the highest one is taken); "." for all
            files, without a folder that holds them all.
        about: content of the file ORIGIN in `target`; `content`, the SHA-256 over the names and contents of the images
            (corpora.content_sha256), is added.
        images: number of images that there must be; None: any.
        limits: limits of what the archive may hold.
    Raises:
        UserError: if the archive is damaged, of another kind, unsafe or too large, has no such folder, or the disk is
            full. Then `target` stays as it was.
    """
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
    try:
        most = limits.most(archive.stat().st_size)
        with _open(archive, most) as opened:
            members = _below(folder, list(_members(opened, limits)))
            unpacked = sum(member.bytes for member in members.values())
            _check_size(unpacked, most)
            check_space(target.parent, unpacked, f"Unpacking {archive.name}")
            temporary.mkdir()
            sums = _write(opened, members, temporary, most)
        content = [[name, sums[name]] for name in sorted(sums) if is_image(name)]
        if images not in (None, len(content)):
            raise _RefusedError(f"holds {len(content)} images in {folder} instead of {images}")
        (temporary / ORIGIN).write_text(json.dumps({**about, "content": digest(content)}, indent=1) + "\n")
        replace_folder(temporary, target)
    except _RefusedError as error:
        raise UserError(f"{archive} {error}: nothing of it was unpacked; use another archive.") from None
    except OSError as error:
        detail = error.strerror or " ".join(str(error).split())
        raise UserError(f"{archive} can't be unpacked into {target} ({detail}): mend that and try again.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _open(archive: Path, most: int) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    try:
        with archive.open("rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            # zipfile.is_zipfile would also find the zip that is the last member of a tar.
            if magic in (b"PK\x03\x04", b"PK\x05\x06"):
                with zipfile.ZipFile(raw) as opened:
                    yield opened
                return
            packed = magic.startswith(b"\x1f\x8b")
            with gzip.open(raw) if packed else raw as content:
                watched: Any = _Watched(content, most)
                with tarfile.open(fileobj=watched, mode="r:") as tar:
                    yield tar
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        detail = " ".join(str(error).split()).rstrip(".")
        raise _RefusedError(f"is damaged, or neither a zip nor a tar archive ({detail})") from None
    except (NotImplementedError, RuntimeError, ValueError) as error:  # raised by zipfile for exotic members
        raise _RefusedError(f"can't be read ({' '.join(str(error).split()).rstrip('.')})") from None


class _Watched:
    """The unpacked bytes of a tar, of which no more can be read than a limit, nor too many at once."""

    def __init__(self, file: gzip.GzipFile | IO[bytes], most: int) -> None:
        self._file, self._most = file, most
        self.longest = _LONGEST_HEADER
        """Most bytes that are read at once: of a header, until all of them are read."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.longest:
            raise _RefusedError(f"has a header of more than {self.longest} bytes")
        data = self._file.read(size)
        _check_size(self.tell(), self._most)
        return data

    def seek(self, position: int, whence: int = 0) -> int:
        self._file.seek(position, whence)
        _check_size(self.tell(), self._most)
        return self.tell()

    def tell(self) -> int:
        return self._file.tell()


def _members(opened: zipfile.ZipFile | tarfile.TarFile, limits: Limits) -> Iterator[_Member]:
    members: Iterator[_Member | None]
    members = map(_of_zip, opened.infolist()) if isinstance(opened, zipfile.ZipFile) else map(_of_tar, opened)
    for number, member in enumerate(members, 1):
        if number > limits.entries:
            raise _RefusedError(f"has more than {limits.entries} entries")
        if member:
            yield member
    if isinstance(opened, tarfile.TarFile) and opened.fileobj:
        opened.fileobj.longest = _CHUNK  # type: ignore[attr-defined]  # it is _Watched; only contents are read now
        opened.fileobj.seek(opened.offset)  # tarfile takes the end of a file that was cut short for the end of the tar
        if len(opened.fileobj.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise _RefusedError("is cut short")
        while opened.fileobj.read(_CHUNK):  # gzip's checksum stands at the very end
            pass


def _of_zip(entry: zipfile.ZipInfo) -> _Member | None:
    problem = "is encrypted" if entry.flag_bits & 1 else ""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile unpacks others without a limit
        packing = _PACKINGS.get(entry.compress_type, f"method {entry.compress_type}")
        problem = f"is compressed by {packing} and not by deflate"
    if (kind := stat.S_IFMT(entry.external_attr >> 16)) not in (0, stat.S_IFREG, stat.S_IFDIR):
        problem = "is a link" if kind == stat.S_IFLNK else "is a device"
    name = _safe(entry.filename)
    return None if entry.is_dir() else _Member(name=name, bytes=entry.file_size, problem=problem, entry=entry)


def _of_tar(entry: tarfile.TarInfo) -> _Member | None:
    problem = "is a link" if entry.issym() or entry.islnk() else "" if entry.isreg() else "is a device"
    name = _safe(entry.name)
    return None if entry.isdir() else _Member(name=name, bytes=entry.size, problem=problem, entry=entry)


def _safe(name: str) -> PurePosixPath:
    """A name in an archive as a relative path that stays below the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _RefusedError(f"holds a path that leaves the folder ({name!r})")
    return path


def _below(folder: str, members: list[_Member]) -> dict[str, _Member]:
    """The visible files below a folder, by their names in it."""
    wanted = PurePosixPath(folder).parts
    tops = {
        member.name.parts[:start]
        for member in members
        for start in range(len(member.name.parts) - len(wanted))
        if member.name.parts[start : start + len(wanted)] == wanted
    }
    if not tops and wanted:
        raise _RefusedError(f"has no folder {folder}")
    if wanted:
        top: tuple[str, ...] = (*min(tops, key=lambda parts: (len(parts), parts)), *wanted)
    else:
        firsts = {member.name.parts[:-1][:1] for member in members if not _hidden(member.name.parts)}
        top = firsts.pop() if len(firsts) == 1 else ()
    found: dict[str, _Member] = {}
    for member in members:
        parts = member.name.parts[len(top) :]
        if member.name.parts[: len(top)] != top or _hidden(parts):
            continue
        if member.problem:
            raise _RefusedError(f"holds {member.name}, which {member.problem}")
        try:
            str(member.name).encode()
        except UnicodeEncodeError:
            raise _RefusedError(
                f"holds a name that is not UTF-8 ({str(member.name)!r}; pack it again with names in UTF-8)"
            ) from None
        if (name := "/".join(parts)) in found:
            raise _RefusedError(f"holds {member.name} twice")
        found[name] = member
    if not found:
        raise _RefusedError("holds no files" if folder == "." else f"holds no files in {folder}")
    return found


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _check_size(unpacked: int, most: int) -> None:
    if unpacked > most:
        raise _RefusedError(f"unpacks to more than the {most} bytes that are allowed for its size")


def _write(
    opened: zipfile.ZipFile | tarfile.TarFile, members: dict[str, _Member], folder: Path, most: int
) -> dict[str, str]:
    sums, written = {}, 0
    for name, member in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = hashlib.sha256()
        source = opened.open(member.entry) if isinstance(opened, zipfile.ZipFile) else opened.extractfile(member.entry)
        assert source is not None  # None for other entries only
        with source, path.open("xb") as file:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                _check_size(written, most)
                file.write(chunk)
                whole.update(chunk)
        sums[name] = whole.hexdigest()
    return sums
