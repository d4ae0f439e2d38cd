"""Hashes that name things: values, files, and Python sources without what changes nothing."""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that the packages scn, data_prep and flows are in."""


def digest(value: object) -> str:
    """SHA-256 of a value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; OSError if it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_sha256(files: Iterable[Path]) -> str:
    """SHA-256 over Python sources of our packages, by name and content, without comments, docstrings and empty lines.

    Every file is read once per process, so that a source edited during a long run does not pass for the code that runs.
    """
    return digest({path.relative_to(PACKAGES).as_posix(): _source_sha256(path) for path in sorted(set(files))})


def sources(*names: str, without: Iterable[str] = ()) -> list[Path]:
    """The Python files that `names` stand for: files and folders relative to the packages, as "scn/training".

    Raises:
        FileNotFoundError: if there is no such file or folder.
    """
    left_out = {PACKAGES / name for name in without}
    found: list[Path] = []
    for name in names:
        path = PACKAGES / name
        inside = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if not inside or not all(file.is_file() for file in (*inside, *left_out)):
            raise FileNotFoundError(f"{path} or what is left out of it does not exist")
        found += [file for file in inside if file not in left_out]
    return found


@cache
def _source_sha256(path: Path) -> str:
    return hashlib.sha256(significant(path.read_text()).encode()).hexdigest()


_QUOTES = ('"', "'", "r")  # what a string that is a statement begins and ends with


def significant(source: str) -> str:
    """The lines of a Python source without what changes nothing: comments, strings that are statements, empty lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            if lines[first].lstrip()[:1] in _QUOTES and lines[last - 1].rstrip()[-1:] in _QUOTES:
                lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())
