"""Finds the folders of a corpus: a copy that a site shares, the project's own, or the user's folder or archive.

A corpus that can be downloaded is searched in `$SCN_CORPORA/NAME` and then in `<corpora.root>/NAME`. There a split's
folder may have its name in the archive or the split's own: `DIV2K/DIV2K_train_HR` or `DIV2K/train`.
"""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError
from scn.corpora.catalogue import WHOLE, Split, load_catalogue

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""Suffixes, in lower case, of files that are taken for images."""

CATALOGUE = "catalogue"
"""Value in `corpora.download` for a corpus of the catalogue."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folders in which the images of a corpus, or of one of its splits, are searched."""

    corpus: str
    """Name of the corpus."""
    split: str
    """Name of the split; "" if the catalogue has none."""
    known: Split | None
    """The split's entry in the catalogue, if it has one."""
    candidates: tuple[Path, ...]
    """Folders in the order in which they are searched; a download goes to the last one."""
    below: str = ""
    """Sub-folder of the found folder that was asked for; "" for all of it."""

    @property
    def found(self) -> Path | None:
        """The first of the candidates that exists and is not empty; None if there is none."""
        return next(filter(_holds_something, self.candidates), None)

    @property
    def target(self) -> Path:
        """The folder that a download goes to."""
        return self.candidates[-1]

    @property
    def title(self) -> str:
        """NAME, or NAME/SPLIT."""
        return f"{self.corpus}/{self.split}" if self.split else self.corpus


def is_image(name: str) -> bool:
    """True if a file's name has the suffix of an image and does not begin with a dot, as ._a.png does."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and "." + base.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def own_archive(params: Params, name: str) -> Path | None:
    """The archive of a corpus of `corpora.local`; None if the corpus is a folder."""
    path = params.root.absolute() / Path(params.corpora.local[name]).expanduser()
    return path if path.is_file() else None


def root_of(params: Params) -> Path:
    """The absolute folder of `corpora.root`."""
    return params.root.absolute() / Path(params.corpora.root).expanduser()


def is_url(value: str) -> bool:
    """True if a value of `corpora.download` is a URL."""
    return value.lower().startswith(("http://", "https://"))


def files_below(folder: Path) -> Iterator[str]:
    """The visible files below a folder, by their paths in it with forward slashes, in an order that is always the same.

    Links to folders are followed, each folder once; links that lead nowhere are included.

    Raises:
        OSError: if a folder can't be read, which pathlib's rglob would skip in silence.
        UserError: if a name is not UTF-8.
    """
    seen = set[Path]()
    waiting = [""]
    while waiting:
        below = waiting.pop()
        if (real := (folder / below).resolve()) in seen:  # a link to a folder that it lies in
            continue
        seen.add(real)
        with os.scandir(folder / below) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda one: one.name)
        folders = []
        for entry in entries:
            name = below + entry.name
            if _leads_to_folder(entry):
                folders.append(f"{name}/")
            elif entry.is_symlink() or entry.is_file():
                try:
                    name.encode()
                except UnicodeEncodeError:
                    raise UserError(f"The name of the file {str(folder / name)!r} is not UTF-8: rename it.") from None
                yield name
        waiting += reversed(folders)


def places_of(params: Params, reference: str) -> list[Place]:
    """The places of a corpus's images, one for each split; none for a corpus that a package carries.

    Args:
        reference: NAME or NAME/SPLIT, of params.yaml or of the catalogue.
    Raises:
        UserError: if there is no such corpus or split.
    """
    name, _, wanted = reference.partition("/")
    if wanted and {"", ".", ".."} & set(wanted.split("/")):
        raise UserError(f"'{reference}' is no NAME/SPLIT: name a sub-folder of the corpus, without '.', '..' or '//'.")
    if name in params.corpora.local:
        own = params.root.absolute() / Path(params.corpora.local[name]).expanduser()
        folder = root_of(params) / name if own_archive(params, name) else own
        return [Place(corpus=name, split="", known=None, candidates=(folder,), below=wanted)]
    if name not in params.corpora.download and name not in load_catalogue().corpora:
        raise UserError(
            f"{params.path} has no corpus '{name}', nor has the catalogue: use one of "
            f"{', '.join(sorted(params.corpora.names))}, one that `data-prep list` shows, or add it."
        )
    asked = params.corpora.download.get(name, CATALOGUE)
    if is_url(asked):
        return [Place(corpus=name, split="", known=None, candidates=_folders(params, name, "."), below=wanted)]
    if asked != CATALOGUE:
        raise UserError(
            f"{params.path}: corpora.download.{name}: '{asked}' is neither '{CATALOGUE}' nor a URL: correct it, or "
            "name folders and archives of your own under corpora.local."
        )
    name, entry, splits = load_catalogue().resolve(reference)
    if entry.package:
        return []
    return [
        Place(
            corpus=name,
            split=key if key != WHOLE else "",
            known=split,
            candidates=_folders(params, name, *dict.fromkeys((key if split.folder != "." else ".", split.folder))),
        )
        for key, split in splits.items()
    ]


def package_folder(package: str) -> Path:
    """The folder of an installed package. Raises UserError if it is not installed."""
    # find_spec does not import the package: scikit-image would take a second.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The package {package}, which carries images of the catalogue, is not installed: install it.")
    return Path(next(iter(spec.submodule_search_locations)))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: the error is raised when it is read
        return False


def _holds_something(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:  # the error is raised when it is opened
        return True


def _folders(params: Params, name: str, *below: str) -> tuple[Path, ...]:
    site = os.environ.get("SCN_CORPORA")
    if site and not Path(site).expanduser().is_dir():
        raise UserError(f"$SCN_CORPORA is {site}, which is no folder: correct or unset it.")
    roots = [*([Path(site).expanduser().absolute()] if site else []), root_of(params)]
    return tuple(root / name / folder for root in roots for folder in below)
