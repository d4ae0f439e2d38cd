"""The corpora that are known by name: catalogue.yaml, under this schema."""

import functools
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from scn.core.errors import UserError

FILE = Path(__file__).with_name("catalogue.yaml")
WHOLE = "all"
"""The one split of a corpus that has none."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Archive(_Record):
    """A file that is downloaded; what is not known of it is recorded at the first download (corpora.lock)."""

    urls: list[str] = Field(min_length=1)
    """Mirrors, in the order in which they are tried."""
    bytes: int | None = None
    sha256: Sha256 | None = None
    md5: Md5 | None = None


class Origin(_Record):
    """A folder of an archive."""

    archive: str
    folder: str


class Split(_Record):
    """A part of a corpus that is used as one."""

    images: int = Field(ge=1)
    """How many there are."""
    folder: str = "."
    """Where they lie below the corpus's folder."""
    tree: str = ""
    """What the files in it are called, like "0001.png ... 0800.png"."""
    content: Sha256 | None = None
    """SHA-256 over the names and contents of the usual copy (corpora.content_sha256)."""
    extra: bool = False
    """Only fetched and opened if it is named."""
    origins: list[Origin] = []
    """Which archives it is in, in the order in which they are tried."""
    files: dict[str, Sha256] = {}
    """Of a corpus that an installed package carries: its files and their SHA-256."""

    @model_validator(mode="after")
    def _counted(self) -> "Split":
        if self.files and len(self.files) != self.images:
            raise ValueError(f"images is {self.images}, and files lists {len(self.files)}")
        return self


class Entry(_Record):
    """A corpus of the catalogue."""

    licence: str
    use: str
    paper: str = ""
    """Which introduced it."""
    package: str = ""
    """An installed Python package that carries its images, in `folder`."""
    folder: str = "."
    alias: str = ""
    """The corpus or split (NAME/SPLIT) that this is another name of."""
    splits: dict[str, Split] = {}


class Catalogue(_Record):
    """What is known of corpora and of the archives that hold them."""

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
        """What `NAME` or `NAME/SPLIT` stands for; a split may be called by its folder, too.

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
    """The catalogue; UserError if it is not as this schema says."""
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
