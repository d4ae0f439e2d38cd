"""Downloads and unpacks corpora: from the mirrors of the catalogue, from a URL, or from an archive of the user's own.

Archives are downloaded to `<corpora.root>/.archives`. An unpacked folder holds `.origin.json`, which names the archive
and the hash of its content.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag, urlsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from data_prep.archives import unpack
from data_prep.fetch import Fetched, fetch
from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import locked, write_atomically
from scn.core.hashing import file_sha256
from scn.corpora.catalogue import Archive, load_catalogue
from scn.corpora.places import CATALOGUE, Place, is_url, own_archive, places_of, root_of
from scn.corpora.unpacked import comes_from, holds, note_stamp, origin_of, seems_current, stamp_of

LOCK_FILE = "corpora.lock"
"""File beside params.yaml, to be committed, that records size and SHA-256 of archives without a published checksum."""


class _Held(BaseModel):
    """An archive as it was at its first download."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    sha256: str
    url: str


_LockFile = TypeAdapter(dict[str, _Held])


def acquire(params: Params, reference: str) -> None:
    """Downloads and unpacks what is missing on this machine of a corpus.

    Args:
        reference: NAME or NAME/SPLIT, of params.yaml or of the catalogue.
    Raises:
        UserError: if there is no such corpus, no mirror has the right files, an archive is damaged, unsafe or not the
            one recorded in corpora.lock, or the disk is full.
    """
    name = reference.partition("/")[0]
    if name in params.corpora.local:
        if archive := own_archive(params, name):
            _unpack_own(params, name, archive)
        return
    places = places_of(params, reference)
    asked = params.corpora.download.get(name, CATALOGUE)
    if is_url(asked):
        _from_url(params, places[0], asked)
        return
    for place in places:
        if place.found is None:
            with _alone(params, place.corpus):
                if place.found is None:  # another process may have downloaded it meanwhile
                    _from_catalogue(params, place)


def _from_catalogue(params: Params, place: Place) -> None:
    problems = []
    for origin in place.known.origins if place.known else ():
        try:
            _from_archive(params, place, origin.archive)
            return
        except UserError as error:
            problems.append(str(error).rstrip("."))
    tree = f"{place.known.images} images ({place.known.tree})" if place.known else "its images"
    raise UserError(f"{'; '.join(problems)}; or put {tree} of {place.title} into {place.target}.")


def _from_archive(params: Params, place: Place, name: str) -> None:
    """Unpacks a split and all other missing splits of its corpus that the archive holds, as it may be removed then."""
    catalogue = load_catalogue()
    archive = catalogue.archives[name]
    shared = any(
        origin.archive == name
        for corpus, entry in catalogue.corpora.items()
        if corpus != place.corpus
        for split in entry.splits.values()
        for origin in split.origins
    )
    siblings = [other for other in places_of(params, place.corpus) if other.split != place.split and not other.found]
    with _alone(params, name):
        file = _archives(params) / name
        with _fetched(params, name, archive, file, keep=shared) as fetched:
            for target in (place, *siblings):
                for origin in target.known.origins if target.known else ():
                    if origin.archive == name and target.known:
                        about = {"archive": name, "url": fetched.url, "sha256": fetched.sha256}
                        _make(target.target.parent)
                        unpack(file, origin.folder, target.target, about, images=target.known.images)


def _from_url(params: Params, place: Place, asked: str) -> None:
    url, checksum = urldefrag(asked)
    if urlsplit(url).username is not None:
        raise UserError(
            f"{params.path}: corpora.download.{place.corpus} holds a user's name, which would be written into "
            f"{LOCK_FILE}: put it and the password into ~/.netrc."
        )
    kind, _, value = checksum.partition("=")
    try:
        archive = Archive.model_validate({"urls": [url]} | ({kind: value.lower()} if checksum else {}))
    except ValidationError:
        raise UserError(
            f"{params.path}: corpora.download.{place.corpus}: '#{checksum}' is no checksum: write #sha256= and 64 "
            "hexadecimal digits, or #md5= and 32."
        ) from None

    def is_current() -> bool:
        if place.found is None or place.found != place.target or not (origin := origin_of(place.target)):
            return place.found is not None  # the user put it there
        if archive.md5 and origin.get("md5") != archive.md5:
            return False  # whoever asks for one now gets the archive once more, verified
        held = _read_lock(_lock_path(params)).get(url)  # another machine may have committed another content
        expected = archive.sha256 or (held and held.sha256) or origin.get("sha256")
        return origin.get("url") == url and origin.get("sha256") == expected

    if is_current():
        return
    with _alone(params, place.corpus):
        if is_current():
            return
        suffix = "".join(PurePosixPath(urlsplit(url).path).suffixes[-2:])
        name = f"{place.corpus}-{hashlib.sha256(url.encode()).hexdigest()[:12]}{suffix}"
        file = _archives(params) / name
        with _fetched(params, url, archive, file, keep=False) as fetched:
            about = {"archive": name, "url": url, "sha256": fetched.sha256}
            unpack(file, ".", place.target, about | ({"md5": archive.md5} if archive.md5 else {}))


def _unpack_own(params: Params, name: str, archive: Path) -> None:
    target = root_of(params) / name
    if seems_current(archive, target):
        return
    told, sha256 = stamp_of(archive), file_sha256(archive)  # in this order: what changes in between shows next time
    if holds(target, sha256):
        with suppress(UserError), _alone(params, name):  # where nothing can be written it is hashed each time
            if told and holds(target, sha256):
                note_stamp(target, told)
        return
    with _alone(params, name):
        if holds(target, sha256):  # another process has unpacked it meanwhile, and may be reading it
            return
        if target.exists() and not comes_from(archive, target):
            raise UserError(f"{target}, where {archive} would be unpacked, was not unpacked from it: move it away.")
        unpack(archive, ".", target, {"archive": archive.name, "stamp": told, "sha256": sha256})


@contextmanager
def _fetched(params: Params, key: str, archive: Archive, file: Path, *, keep: bool) -> Iterator[Fetched]:
    """Downloads the archive `file`, compares it with corpora.lock, and records it there when it has been unpacked."""
    lock, cure = _lock_path(params), "try again later"
    held = _read_lock(lock).get(key)
    if held and not archive.sha256:
        archive = archive.model_copy(update={"bytes": archive.bytes or held.bytes, "sha256": held.sha256})
        cure += f", or, if it was meant to change, take {key} out of {lock}"
    fetched = fetch(archive, file, cure)
    try:
        yield fetched
    except UserError:
        if not (archive.sha256 or archive.md5):
            file.unlink(missing_ok=True)  # no checksum can tell whether it is the right one
        raise
    if not archive.sha256:
        with _alone(params, LOCK_FILE):
            now = _read_lock(lock) | {key: _Held(bytes=fetched.bytes, sha256=fetched.sha256, url=fetched.url)}
            text = json.dumps({name: now[name].model_dump() for name in sorted(now)}, indent=1) + "\n"
            write_atomically(lock.resolve(), text.encode())  # in a flow's clone the file is a link to the project's
        print(f"{key}: its checksum is in {lock} now: commit that file", file=sys.stderr)
    if not keep:
        file.unlink()


def _lock_path(params: Params) -> Path:
    return params.root / LOCK_FILE


def _read_lock(path: Path) -> dict[str, _Held]:
    try:
        return _LockFile.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError):
        raise UserError(f"{path} can't be read: restore it from git, or remove it.") from None


def _archives(params: Params) -> Path:
    return root_of(params) / ".archives"


@contextmanager
def _alone(params: Params, name: str) -> Iterator[None]:
    """Lets no other process bring the same thing meanwhile."""
    folder = _archives(params)
    _make(folder)
    said = f"{name}: waiting for another process that downloads it"
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / f"{name}.lock", lambda: print(said, file=sys.stderr, flush=True)))
        except OSError as error:
            raise UserError(f"{folder} can't be written to ({error.strerror}): choose another corpora.root.") from None
        yield


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} can't be made ({error.strerror}): choose another corpora.root.") from None
