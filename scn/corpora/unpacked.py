"""What a folder that was unpacked from an archive says about its origin."""

import json
import time
from pathlib import Path
from typing import Any

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import write_atomically
from scn.core.hashing import file_sha256
from scn.corpora.hash_cache import settled, stamp
from scn.corpora.places import own_archive, root_of

ORIGIN = ".origin.json"
"""The file in an unpacked folder that names the archive it came from."""


def check_unpacked(params: Params, name: str) -> None:
    """Raises UserError if the corpus `name` is a local archive that is not unpacked, or has changed since."""
    archive = own_archive(params, name)
    if archive and not is_current(archive, root_of(params) / name):
        raise UserError(
            f"{archive} of the corpus '{name}' is not unpacked, or changed since: run `data-prep download {name}`."
        )


def origin_of(folder: Path) -> dict[str, Any]:
    """The content of a folder's `.origin.json` (archive, content's SHA-256, ...); {} if the folder has none."""
    try:
        origin = json.loads((folder / ORIGIN).read_text())
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def is_current(archive: Path, target: Path) -> bool:
    """Returns True if the folder `target` was unpacked from the archive as it is now; hashes it if it seems changed."""
    return seems_current(archive, target) or holds(target, file_sha256(archive))


def seems_current(archive: Path, target: Path) -> bool:
    """Returns True if the archive has the stamp (hash_cache.stamp) with which `target` was unpacked from it."""
    return origin_of(target).get("stamp") == stamp(archive.stat())


def holds(target: Path, sha256: str) -> bool:
    """Returns True if the folder `target` was unpacked from an archive of one's own with the content `sha256`."""
    origin = origin_of(target)
    return "stamp" in origin and origin.get("sha256") == sha256


def comes_from(archive: Path, target: Path) -> bool:
    """Returns True if `target` was unpacked from an archive of one's own of this name, whatever it held then."""
    origin = origin_of(target)
    return "stamp" in origin and origin.get("archive") == archive.name


def stamp_of(archive: Path) -> str:
    """The stamp to note of an archive that is read from now on; "" if it changed too lately to be known by it."""
    status = archive.stat()
    return stamp(status) if settled(status, time.time_ns()) else ""


def note_stamp(target: Path, told: str) -> None:
    """Writes another stamp of the same archive into `target`. Raises UserError if it can't."""
    origin = {**origin_of(target), "stamp": told}
    write_atomically(target / ORIGIN, (json.dumps(origin, indent=1) + "\n").encode())
