"""The catalogue of corpora that are known by name (catalogue.yaml), and its schema."""

import functools
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from scn.core.errors import UserError

FILE = Path(__file__).with_name("catalogue.yaml")
"""Path of catalogue.yaml."""
WHOLE = "all"
"""Name that stands for the one split of a corpus without named splits."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Record):
    """An archive to download; unknown sizes and checksums are recorded in corpora.lock at the first download."""

    urls: list[str] = Field(min_length=1)
    """Mirrors, in the order in which they are tried."""
    bytes: int | None = None
    """Size in bytes, if it is known."""
    sha256: Sha256 | None = None
    """SHA-256 in hexadecimal, if it is known."""
    md5: Md5 | None = None
    """MD5 in hexadecimal, if it is known."""


class Origin(_Record):
    """A source of a split's images: a folder in an archive."""

    archive: str
    """Name of the archive in the catalogue."""
    folder: str
    """Folder in the archive."""


class Split(_Record):
    """A split of a corpus, such as its training or its validation images."""

    images: int = Field(ge=1)
    """Number of images."""
    folder: str = "."
    """Folder of the split, below the corpus's folder."""
    tree: str = ""
    """Names of the files, for messages, such as "0001.png ... 0800.png"."""
    content: Sha256 | None = None
    """SHA-256 over the names and contents of the usual copy (corpora.content_sha256), if it is known."""
    extra: bool = False
    """True: only downloaded and opened if a reference names the split."""
    origins: list[Origin] = []
    """Archives that hold the split, in the order in which they are tried."""
    files: dict[str, Sha256] = {}
    """File -> SHA-256, for a corpus that an installed package carries."""

    @model_validator(mode="after")
    def _counted(self) -> "Split":
        if self.files and len(self.files) != self.images:
            raise ValueError(f"images is {self.images}, and files lists {len(self.files)}")
        return self


class Entry(_Record):
    """A corpus of the catalogue."""

    licence: str
    """Licence of the images."""
    use: str
    """Usual purpose of the corpus, in a few words."""
    paper: str = ""
    """Paper that introduced the corpus."""
    package: str = ""
    """Python package that carries the images in its folder `folder`; "" if none does."""
    folder: str = "."
    """Folder of the images in the package."""
    alias: str = ""
    """Corpus or split (NAME/SPLIT) that this is another name of; "" if it is none."""
    splits: dict[str, Split] = {}
    """Splits, by name."""


class Catalogue(_Record):
    """The catalogue: known corpora, and the archives that hold them, by name."""

    archives: dict[str, Archive] = {}
    corpora: dict[str, Entry]

    @model_validator(mode="after")
    def _complete(self) -> "Catalogue":
        for name, entry in self.corpora.items():
            if entry.alias and (entry.splits or not self._aliased(entry.alias)):
                raise ValueError(f"{name} is no alias of one of the corpora")
            if not entry.alias and not entry.splits:
                raise ValueError(f"{name} has no splits")
            for split in entry.splits.values():
                if missing := {origin.archive for origin in split.origins} - self.archives.keys():
                    raise ValueError(f"{name} comes from {missing.pop()}, which is not among the archives")
        return self

    def _aliased(self, reference: str) -> bool:
        name, _, split = reference.partition("/")
        return name in self.corpora and (not split or split in self.corpora[name].splits)

    def resolve(self, reference: str) -> tuple[str, Entry, dict[str, Split]]:
        """Finds the corpus and the splits that a reference, `NAME` or `NAME/SPLIT`, stands for.

        A split may also be called by its folder. Splits that are `extra` are left out unless they are named.

        Returns:
            The corpus's name and entry, aliases resolved, and the splits that are meant, by name.
        Raises:
            UserError: if there is no such corpus or split.
        """
        name, _, wanted = reference.partition("/")
        if name not in self.corpora:
            raise UserError(
                f"The catalogue has no corpus '{name}': use one of {', '.join(sorted(self.corpora, key=str.lower))}."
            )
        entry = self.corpora[name]
        if entry.alias and not wanted:
            return self.resolve(entry.alias)
        if not wanted:
            return name, entry, {key: split for key, split in entry.splits.items() if not split.extra}
        found = {key: split for key, split in entry.splits.items() if wanted in (key, split.folder)}
        if not found:
            splits = f"use one of {', '.join(sorted(entry.splits))}" if WHOLE not in entry.splits else f"use {name}"
            raise UserError(f"{name} of the catalogue has no split '{wanted}': {splits}.")
        return name, entry, found


def load_catalogue() -> Catalogue:
    """Reads the catalogue, once per process. Raises UserError if it does not fit its schema."""
    return _load(FILE)


@functools.cache
def _load(path: Path) -> Catalogue:
    try:
        return Catalogue.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the top level"
        raise UserError(f"The catalogue {path} is wrong at {place} ({first['msg']}): correct it.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"The catalogue {path} can't be read ({detail}): install the project again.") from None
