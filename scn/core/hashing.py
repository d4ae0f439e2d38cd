"""SHA-256 of values, of files, and of Python sources without comments and docstrings."""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from scn.core.errors import UserError

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that holds the packages scn, data_prep and flows; on a node that Ray has sent them to, scn alone."""


def digest(value: object) -> str:
    """SHA-256, in hexadecimal, of a value that JSON can hold; the order of its keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256, in hexadecimal, of a file's content. Raises OSError if it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_sha256(files: Iterable[Path]) -> str:
    """SHA-256, in hexadecimal, of Python sources by name and content, without comments, docstrings and empty lines.

    Every file is read once per process, so that an edit during a long run does not change the hash of the code that
    is running.

    Args:
        files: sources of this project's packages, as `sources` finds them.
    """
    return digest({path.relative_to(_above(path)).as_posix(): _source_sha256(path) for path in sorted(set(files))})


def sources(*names: str, without: Iterable[str] = ()) -> list[Path]:
    """The Python files of `names`: each is a file, or a folder with all files in it, such as "scn/training".

    Args:
        names: paths that begin with a package.
        without: files to leave out, named in the same way.
    Raises:
        FileNotFoundError: if there is no such file or folder.
    """
    left_out = {_folder(name) / name for name in without}
    found: list[Path] = []
    for name in names:
        path = _folder(name) / name
        inside = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if not inside or not all(file.is_file() for file in (*inside, *left_out)):
            raise FileNotFoundError(f"{path} or what is left out of it does not exist")
        found += [file for file in inside if file not in left_out]
    return found


def _folder(name: str) -> Path:
    """The folder that holds the package with which the path `name` begins."""
    package = name.partition("/")[0]
    return PACKAGES if (PACKAGES / package).is_dir() else package_folder(package).parent


def _above(path: Path) -> Path:
    """The folder that holds the package in which `path` lies."""
    if path.is_relative_to(PACKAGES):
        return PACKAGES
    return next(folder for folder in path.parents if not (folder / "__init__.py").is_file())


def package_folder(package: str) -> Path:
    """The folder from which this process imports one of the project's packages."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The package {package} is not on Python's path: install the whole project.")
    return Path(spec.submodule_search_locations[0]).resolve()


@cache
def _source_sha256(path: Path) -> str:
    return hashlib.sha256(significant(path.read_text()).encode()).hexdigest()


_QUOTES = ('"', "'", "r")  # first and last characters of a docstring


def significant(source: str) -> str:
    """The lines of a Python source without comments, docstrings and empty lines, which change no behaviour."""
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
