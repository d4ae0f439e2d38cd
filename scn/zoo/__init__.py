"""Models that ship with the project, as package data: scn/zoo/<experiment>/ is one version as the registry holds it."""

from pathlib import Path

FOLDER = Path(__file__).parent
MANIFEST = "manifest.json"


def names() -> list[str]:
    """The experiments of which a model ships."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{MANIFEST}"))


def folder(name: str) -> Path | None:
    """The folder of the model `name`, not verified yet; None if none of this name ships."""
    found = FOLDER / name
    return found if Path(name).name == name and any((found / file).is_file() for file in _FILES) else None


_FILES = (MANIFEST, "model.safetensors")
