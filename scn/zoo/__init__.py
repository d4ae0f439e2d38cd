"""Models that ship with the project, as package data: scn/zoo/<experiment>/ is one version as the registry holds it."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""The folder that holds a folder for each shipped model."""
MANIFEST = "manifest.json"


def names() -> list[str]:
    """Returns the names of the experiments whose models ship."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{MANIFEST}"))


def folder(name: str) -> Path | None:
    """Returns the folder of the shipped model `name`, not verified yet; None if no model of this name ships."""
    found = FOLDER / name
    return found if Path(name).name == name and any((found / file).is_file() for file in _FILES) else None


_FILES = (MANIFEST, "model.safetensors")
