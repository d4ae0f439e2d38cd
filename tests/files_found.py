"""Looking into a folder that another process writes to."""

import os
from fnmatch import fnmatch
from pathlib import Path


def files_found(folder: Path, pattern: str) -> set[Path]:
    """The files and folders below a folder whose names match.

    `os.walk` passes over what goes while it looks; `Path.rglob` raises FileNotFoundError when a writer's folder of
    temporary files does.
    """
    return {
        Path(place, name)
        for place, folders, files in os.walk(folder)
        for name in [*folders, *files]
        if fnmatch(name, pattern)
    }
