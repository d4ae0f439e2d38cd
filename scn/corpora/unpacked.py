"""What a folder that was unpacked from an archive says about its origin."""

import json
from pathlib import Path
from typing import Any

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
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
    """Returns True if the folder `target` was unpacked from the archive as it is now."""
    origin, status = origin_of(target), archive.stat()
    if (origin.get("bytes"), origin.get("mtime_ns")) == (status.st_size, status.st_mtime_ns):
        return True
    return "mtime_ns" in origin and origin.get("sha256") == file_sha256(archive)
