"""The manifest of a version: its files' names and hashes. Needs no PyTorch, as what checks versions does not."""

import hashlib
import json
from pathlib import Path
from typing import Any

from scn.core.errors import UserError

MANIFEST = "manifest.json"

Files = dict[str, dict[str, Any]]
"""The files of a version: file name -> {"sha256": in hex digits, "bytes": size}."""


def read_manifest(data: bytes, where: str) -> Files:
    """Returns the files that a manifest names; raises UserError, which names `where`, if it is no manifest."""
    try:
        files: Files = json.loads(data)["files"]
        if all(Path(name).name == name and "sha256" in entry for name, entry in files.items()):
            return files
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(
        f"{where} is no manifest of a published model: fetch the version again, or copy it back from a back-up."
    )


def sha256(data: bytes) -> str:
    """Returns the SHA-256 of `data`, in hex digits."""
    return hashlib.sha256(data).hexdigest()
