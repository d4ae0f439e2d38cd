"""The manifest of a version: its files' names and hashes. Needs no PyTorch, as what checks versions does not."""

import hashlib
import json
import re
from typing import Any

from scn.core.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of the manifest's format."""

_LONGEST_NAME = 200
"""Bytes of a file's name; file systems take 255, of which writing needs some."""
Files = dict[str, dict[str, Any]]
"""The files of a version: file name -> {"sha256": in hex digits, "bytes": size}."""


class NewerFormat(UserError):  # noqa: N818 - nothing is wrong with the version
    """A manifest is of another format, which a newer scn writes."""


def read_manifest(data: bytes, where: str) -> Files:
    """Returns the files that a manifest names.

    Raises:
        NewerFormat: which names `where`, if it is of another format.
        UserError: in the same way, if it is no manifest.
    """
    try:
        content = json.loads(data)
        if (format := content["format"]) != FORMAT:
            raise NewerFormat(f"{where} is of format {format}, which a newer scn writes: update this installation.")
        files: Files = content["files"]
        if all(_is_name(name) and isinstance(entry["sha256"], str) for name, entry in files.items()):
            return files
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(
        f"{where} is no manifest of a published model: fetch the version again, or copy it back from a back-up."
    )


def _is_name(name: str) -> bool:
    """True for what can be the name of a file in a folder: a manifest comes from whoever can write to the store."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\0]", name) and len(name.encode()) <= _LONGEST_NAME


def sha256(data: bytes) -> str:
    """Returns the SHA-256 of `data`, in hex digits."""
    return hashlib.sha256(data).hexdigest()
