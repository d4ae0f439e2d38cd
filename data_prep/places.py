"""Where the images of a corpus lie: a site's copy, the project's own, or one's own folder or archive.

The order for a corpus that can be downloaded: `$SCN_CORPORA/NAME`, `<corpora.root>/NAME`. In them a split may be
called by its folder in the archive or by its own name: `DIV2K/DIV2K_train_HR` or `DIV2K/train`.
"""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.catalogue import WHOLE, Split, load_catalogue
from scn.config.params import Params
from scn.core.errors import UserError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

CATALOGUE = "catalogue"
"""What corpora.download says of a corpus that is in the catalogue."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where images are expected that belong together."""

    corpus: str
    split: str
    """Of the catalogue; "" if it knows none."""
    known: Split | None
    """What the catalogue says of it."""
    candidates: tuple[Path, ...]
    """Folders, in the order in which they are looked at; the last one is where a download lands."""
    below: str = ""
    """A sub-folder of those that was asked for."""

    @property
    def found(self) -> Path | None:
        """The first of the candidates that is there and not empty."""
        return next(filter(_holds_something, self.candidates), None)

    @property
    def target(self) -> Path:
        return self.candidates[-1]

    @property
    def title(self) -> str:
        return f"{self.corpus}/{self.split}" if self.split else self.corpus


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its name; ._a.png is a system's own notes."""
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def own_archive(params: Params, name: str) -> Path | None:
    """The archive that a corpus of corpora.local is; None if it is a folder."""
    path = params.root.absolute() / Path(params.corpora.local[name]).expanduser()
    return path if path.is_file() else None


def root_of(params: Params) -> Path:
    """The folder of params.yaml's `corpora.root`."""
    return params.root.absolute() / Path(params.corpora.root).expanduser()


def is_url(value: str) -> bool:
    return value.lower().startswith(("http://", "https://"))


def files_below(folder: Path) -> Iterator[Path]:
    """The visible files below a folder, also through links to folders, and links that lead nowhere.

    Raises:
        OSError: if a folder can't be read; pathlib's rglob would pass over it in silence.
        UserError: if a name is not UTF-8.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen = set[Path]()
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := Path(here).resolve()) in seen:  # a link to a folder that it lies in
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(here, name)
            if name.startswith(".") or not (path.is_file() or path.is_symlink()):
                continue
            try:
                path.relative_to(folder).as_posix().encode()
            except UnicodeEncodeError:
                raise UserError(f"The name of the file {str(path)!r} is not UTF-8: rename it.") from None
            yield path


def places_of(params: Params, reference: str) -> list[Place]:
    """Where to look for what `NAME` or `NAME/SPLIT` of params.yaml or of the catalogue stands for.

    Nowhere for a corpus that a package carries.

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
    """The folder of an installed package; UserError if it is not installed."""
    # Finding does not import: scikit-image would take a second.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The package {package}, which carries images of the catalogue, is not installed: install it.")
    return Path(next(iter(spec.submodule_search_locations)))


def _holds_something(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:  # whoever opens it says so
        return True


def _folders(params: Params, name: str, *below: str) -> tuple[Path, ...]:
    site = os.environ.get("SCN_CORPORA")
    if site and not Path(site).expanduser().is_dir():
        raise UserError(f"$SCN_CORPORA is {site}, which is no folder: correct or unset it.")
    roots = [*([Path(site).expanduser().absolute()] if site else []), root_of(params)]
    return tuple(root / name / folder for root in roots for folder in below)
