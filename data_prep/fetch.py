"""Downloads files over HTTP: resumed, retried, from one mirror after another, and verified.

Bytes that have arrived lie in TARGET.part, described by TARGET.part.json, so a download goes on where it stopped, even
after the process was killed. TARGET appears whole and verified, or not at all.
"""

import hashlib
import json
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.corpora.catalogue import Archive

ATTEMPTS = 5
"""Attempts in a row that bring no byte before a mirror is given up."""
BACKOFF = 0.5
"""Seconds before the second attempt; doubled for every further one."""

_CHUNK = 2**16
_TIMEOUT = (10, 60)  # seconds to connect, and between two reads
_LONGEST_WAIT = 60  # seconds, whatever the server asks for


class _MirrorError(Exception):
    """A mirror that can't serve the file; says why."""


class _BrokenOffError(Exception):
    """A transfer that may go on; says why it stopped."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A downloaded file."""

    url: str
    """Mirror that it came from."""
    bytes: int
    """Size in bytes."""
    sha256: str
    """SHA-256 in hexadecimal."""


def fetch(archive: Archive, target: Path, cure: str = "try again later") -> Fetched:
    """Downloads an archive to `target` and verifies its size and checksum, as far as they are known.

    A file that is there already is verified too, and downloaded again if it is a different one. Two processes must not
    fetch the same target at once.

    Args:
        cure: words that tell the user what to do if no mirror has the file.
    Raises:
        UserError: if no mirror has the right file, or the disk has no room for it and its unpacked content.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        found, problem = _verify(target, archive, archive.urls[0])
        if problem is None:
            return found
        target.unlink()
    problems = []
    for url in archive.urls:
        try:
            return _fetch_from(url, archive, target)
        except _MirrorError as error:
            problems.append(f"{url}: {error}")
    raise UserError(f"{target.name} can't be downloaded ({'; '.join(problems)}): {cure}.")


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises UserError if the disk of `folder` has less than `needed` bytes free; its sentence begins with `what`."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{what} needs about {readable(needed)} in {folder}, and {readable(free)} are free: make room or set "
            "corpora.root in params.yaml to a folder on a larger disk."
        )


def readable(size: int) -> str:
    """A number of bytes as text with a unit, such as `3.5 GB`."""
    value, units = float(size), ["bytes", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.{0 if units[0] == 'bytes' or value >= 100 else 1}f} {units[0]}"


def _fetch_from(url: str, archive: Archive, target: Path) -> Fetched:
    part = _Part(target)
    resumed = part.size > 0
    with _session() as session:
        failures = 0
        while True:
            before = part.size
            try:
                _transfer(session, url, archive, part)
            except _BrokenOffError as error:
                failures = 1 if part.size > before else failures + 1
                if failures >= ATTEMPTS:
                    raise _MirrorError(str(error)) from None
                time.sleep(min(BACKOFF * 2 ** (failures - 1), _LONGEST_WAIT))
                continue
            found, problem = _verify(part.path, archive, url)
            if problem is None:
                part.land()
                if not sys.stderr.isatty():
                    print(f"{target.name}: {readable(found.bytes)} are here", file=sys.stderr, flush=True)
                return found
            part.discard()
            if not resumed:
                raise _MirrorError(problem)
            resumed = False  # the resumed half may have been wrong: once more from the start


def _session() -> Any:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    retries = Retry(
        total=ATTEMPTS,
        connect=2,
        backoff_factor=BACKOFF,
        backoff_max=_LONGEST_WAIT,
        retry_after_max=_LONGEST_WAIT,
        status_forcelist=(429, 500, 502, 503, 504),
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    session.headers["Accept-Encoding"] = "identity"  # a .tgz must not arrive as a .tar
    return session


def _transfer(session: Any, url: str, archive: Archive, part: "_Part") -> None:
    """Downloads the rest of a part. Raises _BrokenOffError if it stopped midway, _MirrorError for a bad mirror."""
    import requests
    from urllib3.exceptions import HTTPError

    verifiable = archive.sha256 is not None or archive.md5 is not None
    headers = part.continuation(url, verifiable)
    if part.complete and headers:
        return
    try:
        response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except requests.RequestException as error:
        raise _MirrorError(_reason(error)) from None
    with response:
        if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{part.size}":
            return  # the part is already complete
        start, total = _extent(response, url, part)
        if archive.bytes is not None and total not in (None, archive.bytes):
            raise _MirrorError(f"it has {total} bytes instead of {archive.bytes}")
        if start == 0:
            part.begin(url, response.headers, total)
        if total is not None:
            check_space(part.path.parent, 2 * total - start, part.target.name)  # unpacked images are about as large
        try:
            with part.path.open("ab", buffering=0) as file, _progress(part.target.name, url, start, total) as bar:
                for chunk in response.raw.stream(_CHUNK, decode_content=False):
                    _write(file, chunk, part)
                    bar.update(len(chunk))
        except (HTTPError, requests.RequestException) as error:
            raise _BrokenOffError(_reason(error)) from None
    if total is not None and part.size != total:
        raise _BrokenOffError(f"the connection ended after {part.size} of {total} bytes")


def _extent(response: Any, url: str, part: "_Part") -> tuple[int, int | None]:
    """Where the content of a response begins, and how large the whole file is, if the server says so."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    content_range = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status_code == 206 and content_range and content_range[1]:
        start, total = int(content_range[1]), int(content_range[2]) if content_range[2].isdecimal() else None
        if not part.fits(url, response.headers):  # not every server heeds If-Range
            part.discard()
            raise _BrokenOffError("the file changed between two parts of it")
        if start == part.size and part.total in (None, total):
            return start, total
    if response.status_code in (206, 416):  # the part is not of this file
        part.discard()
        raise _BrokenOffError(f"its ranges don't fit ({response.headers.get('Content-Range', 'none given')})")
    raise _MirrorError(f"{response.status_code} {response.reason}".rstrip())


def _write(file: Any, chunk: bytes, part: "_Part") -> None:
    rest = memoryview(chunk)
    try:
        while rest:  # a write without a buffer may take less than it is given
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise UserError(
            f"{part.path} can't be written ({error.strerror}): make room or set corpora.root in params.yaml to another "
            "folder, and run the command again, which goes on from there."
        ) from None


class _Part:
    """The bytes that have arrived of a file."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._about = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def total(self) -> int | None:
        """Size of the whole file in bytes, if it is known."""
        total = self._read().get("total")
        return total if isinstance(total, int) else None

    @property
    def complete(self) -> bool:
        return self.total is not None and self.size == self.total

    def continuation(self, url: str, verifiable: bool) -> dict[str, str]:
        """HTTP headers that ask `url` for the rest; {} if the download must begin anew."""
        about = self._read()
        if not self.size or not about:
            return {}
        rest = {"Range": f"bytes={self.size}-"}
        if about.get("url") == url and about.get("validator"):
            return rest | {"If-Range": about["validator"]}  # if the file has changed, the server sends all of it
        return rest if verifiable else {}

    def begin(self, url: str, headers: Any, total: int | None) -> None:
        """Empties the part for a transfer from the start."""
        self.path.write_bytes(b"")
        etag = headers.get("ETag", "")
        modified = headers.get("Last-Modified", "")
        validator = etag if etag and not etag.startswith("W/") else modified
        about = {"url": url, "validator": validator, "modified": modified, "total": total}
        write_atomically(self._about, json.dumps(about).encode())

    def fits(self, url: str, headers: Any) -> bool:
        """Returns False if an answer of the URL that the part came from is about another content."""
        about = self._read()
        if about.get("url") != url:  # what another mirror says of its file can't be compared: the checksum tells
            return True
        noted, etag, modified = about.get("validator", ""), headers.get("ETag", ""), headers.get("Last-Modified", "")
        if noted.startswith('"') and etag:
            return bool(etag.removeprefix("W/") == noted)
        dated = about.get("modified", "")
        return not (dated and modified) or modified == dated

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def land(self) -> None:
        self.path.replace(self.target)
        self._about.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            about = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}


def _verify(path: Path, archive: Archive, url: str) -> tuple[Fetched, str | None]:
    """Size and checksum of a file, and a few words on how it differs from `archive`; None if it does not."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            sha256.update(chunk)
            if archive.md5:
                md5.update(chunk)
            size += len(chunk)
    found = Fetched(url=url, bytes=size, sha256=sha256.hexdigest())
    problem = None
    if archive.bytes not in (None, size):
        problem = f"it has {size} bytes instead of {archive.bytes}"
    elif archive.sha256 and found.sha256 != archive.sha256:
        problem = f"its SHA-256 is {found.sha256} instead of {archive.sha256}"
    elif archive.md5 and md5.hexdigest() != archive.md5:
        problem = f"its MD5 is {md5.hexdigest()} instead of {archive.md5}"
    return found, problem


def _progress(name: str, url: str, start: int, total: int | None) -> "tqdm[Any]":
    if not sys.stderr.isatty():
        what = f" {readable(total)}" if total is not None else ""
        rest = f", {readable(start)} of it are here" if start else ""
        print(f"{name}: downloading{what} from {url}{rest}", file=sys.stderr, flush=True)
    # disable=None: only where there is a terminal
    return tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, leave=False, disable=None, file=sys.stderr
    )


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words; the outer ones name Python objects."""
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None and inner not in causes:
        causes.append(inner)
    for cause in reversed(causes):
        text = (getattr(cause, "strerror", None) or "") if isinstance(cause, OSError) else ""
        if text:
            return str(text)
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
