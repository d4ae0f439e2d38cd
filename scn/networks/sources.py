"""Finds the Python sources that decide what a network computes. It imports no PyTorch and no network's class."""

import ast
from collections.abc import Iterator
from pathlib import Path

from scn.networks import NETWORKS

_ROOT = Path(__file__).resolve().parents[2]
_ROOM = "scn.networks"


def sources_of(name: str) -> list[Path]:
    """The files of a network's class and config and all files of scn.networks that they import, sorted.

    Imports are followed from file to file, wherever they stand; the statements are read and nothing is imported. The
    table of networks itself is left out: its other rows decide nothing about this network.

    Raises:
        KeyError: for an unknown network.
    """
    network = NETWORKS[name]
    found: set[Path] = set()
    waiting = [network.implementation.partition(":")[0], network.config.__module__]
    while waiting:
        for path in _files(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting += _imports(path)
    return sorted(found)


def _files(module: str) -> Iterator[Path]:
    """The files in the room that importing `module` runs, those of the packages around it included."""
    parts = module.split(".")
    for end in range(len(_ROOM.split(".")) + 1, len(parts) + 1):
        path = _ROOT.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                yield file


def _imports(path: Path) -> Iterator[str]:
    """The modules of the room that a file imports, and names that it imports from them, which may be modules, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith(f"{_ROOM}."))
