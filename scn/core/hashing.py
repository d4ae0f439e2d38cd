"""Where a figure comes from: hashes of the weights' file and of the code that measured it."""

import functools
import hashlib
import json
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@functools.cache
def code_sha256() -> str:
    """SHA-256 over this package's Python sources: their sorted relative paths and contents.

    Read once per process, so that a source edited during a long run does not pass for the code that runs.
    """
    return tree_sha256(_PACKAGE)


def tree_sha256(folder: Path) -> str:
    """SHA-256 over the *.py files below `folder`, the same wherever the folder lies."""
    whole = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py")):
        # A digest per file: a line moved from the end of one file to the start of the next changes the sum.
        whole.update(f"{file_sha256(path)}  {name}\n".encode())
    return whole.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; OSError if it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: object) -> str:
    """SHA-256 of a value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
