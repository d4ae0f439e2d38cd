"""What a corpus is: a folder of images, or a catalogue of files that an installed package carries.

A folder is searched with its sub-folders; `NAME/SPLIT` is one of its sub-folders. A catalogue lists its splits:

    package: skimage                    # an installed Python package
    folder: data                        # inside it
    images: {train: {astronaut.png: <SHA-256>, ...}, evaluation: {...}}

Images are sorted by their path below the corpus, so their order depends on no file system. On a cluster the
machines that make the shards must see a folder under the same path.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from data_prep.images import open_image
from scn.config import Params, digest
from scn.errors import UserError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image file of a corpus."""

    name: str
    """Its path below the corpus, with forward slashes."""
    path: Path
    split: str | None
    sha256: str

    def read(self) -> bytes:
        """The file's content; UserError if it is no longer what it was when the corpus was opened."""
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise UserError(f"{self.path} changed while it was being prepared: run the command again.")
        return data


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The images that a reference (`NAME` or `NAME/SPLIT`) stands for, sorted by name."""

    reference: str
    images: tuple[Source, ...]
    ignored: int
    """Files beside them that have no image's suffix."""

    @property
    def sha256(self) -> str:
        """Over the names and contents of the images."""
        return digest([[image.name, image.sha256] for image in self.images])


class _Catalogue(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str
    folder: str = "."
    licence: str = ""
    images: dict[str, dict[str, str]]


def open_corpus(params: Params, reference: str) -> Corpus:
    """Finds and hashes the images of a corpus of params.yaml.

    Raises:
        UserError: if the corpus, its folder, a split or a catalogued file is missing, empty or not as catalogued.
    """
    name, _, split = reference.partition("/")
    if name not in params.corpora:
        raise UserError(
            f"{params.path} has no corpus '{name}': use one of {', '.join(sorted(params.corpora))}, or add it."
        )
    place = params.root.absolute() / Path(params.corpora[name]).expanduser()
    hint = f"correct corpora.{name} in {params.path}"
    if place.suffix in (".yaml", ".yml"):
        return _from_catalogue(place, reference, split, hint)
    return _from_folder(place, reference, split, hint)


def open_images(params: Params, reference: str) -> Corpus:
    """Like open_corpus, and takes the path of a folder too, which is then a corpus of the folder's name."""
    if reference.partition("/")[0] in params.corpora:
        return open_corpus(params, reference)
    folder = Path(reference).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(
            f"'{reference}' is neither a folder nor a corpus of {params.path} "
            f"({', '.join(sorted(params.corpora))}): name one of these."
        )
    return _from_folder(folder, folder.resolve().name, "", "name another folder")


def index_of(corpus: Corpus) -> str:
    """What `data-prep download` writes: the images' names, sizes and checksums, as JSON without machine's paths.

    Raises:
        UserError: naming the first file that is no image.
    """
    rows = []
    for source in corpus.images:
        data = source.read()
        with open_image(data, source.path) as image:
            row = {"name": source.name, "bytes": len(data), "sha256": source.sha256}
            row |= {"width": image.width, "height": image.height, "mode": image.mode}
        rows.append(row | ({"split": source.split} if source.split else {}))
    index = {"name": corpus.reference, "sha256": corpus.sha256, "ignored": corpus.ignored, "images": rows}
    return json.dumps(index, indent=1, sort_keys=True) + "\n"


def check_disjoint(train: list[Corpus], evaluation: list[Corpus]) -> None:
    """UserError naming the two files if an image is trained on and measured on."""
    trained = {image.sha256: (corpus, image) for corpus in train for image in corpus.images}
    for corpus in evaluation:
        for image in corpus.images:
            if image.sha256 in trained:
                other, same = trained[image.sha256]
                raise UserError(
                    f"The training image {same.name} of {other.reference} is the evaluation image {image.name} of "
                    f"{corpus.reference}: take it out of one of them."
                )


def _from_folder(folder: Path, reference: str, split: str, hint: str) -> Corpus:
    start = folder.joinpath(*filter(None, split.split("/")))
    if ".." in split.split("/") or not start.is_dir():
        raise UserError(f"The folder {start} of the corpus '{reference}' does not exist: put images there or {hint}.")
    try:
        files = [path for path in start.rglob("*") if path.is_file()]
    except OSError as error:
        raise UserError(f"The folder {start} can't be read ({error.strerror}): {hint}.") from None
    images = {
        path.relative_to(folder).as_posix(): path
        for path in files
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")  # ._a.png: a system's own notes
    }
    if not images:
        raise UserError(
            f"The folder {start} of the corpus '{reference}' holds no image "
            f"({' '.join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))}): put images there or {hint}."
        )
    sources = tuple(
        Source(
            name=name,
            path=images[name],
            split=name.split("/")[0] if "/" in name else None,
            sha256=hashlib.sha256(_read(images[name])).hexdigest(),
        )
        for name in sorted(images)
    )
    return Corpus(reference=reference, images=sources, ignored=len(files) - len(images))


def _from_catalogue(path: Path, reference: str, split: str, hint: str) -> Corpus:
    try:
        catalogue = _Catalogue.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"The catalogue {path} of the corpus '{reference}' does not exist: {hint}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the top level"
        raise UserError(f"The catalogue {path} is wrong at {place} ({first['msg']}): correct it.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"The catalogue {path} can't be read ({detail}): correct it or {hint}.") from None
    if split and split not in catalogue.images:
        raise UserError(
            f"The catalogue {path} has no split '{split}': use one of {', '.join(sorted(catalogue.images))}."
        )
    listed = {
        name: (part, sha256)
        for part, files in catalogue.images.items()
        if not split or part == split
        for name, sha256 in files.items()
    }
    if not listed:
        raise UserError(f"The catalogue {path} lists no image for '{reference}': add some or {hint}.")
    folder = _package_folder(catalogue.package, path) / catalogue.folder
    sources = []
    for name, (part, sha256) in sorted(listed.items()):
        file = folder / name
        if not file.is_file():
            raise UserError(
                f"The package {catalogue.package} has no file {catalogue.folder}/{name}, which {path} lists: "
                "install another version of it or correct the catalogue."
            )
        if hashlib.sha256(_read(file)).hexdigest() != sha256:
            raise UserError(
                f"{file} is not the file that {path} lists (its SHA-256 differs): install another version of "
                f"{catalogue.package} or correct the catalogue."
            )
        sources.append(Source(name=name, path=file, split=part, sha256=sha256))
    return Corpus(reference=reference, images=tuple(sources), ignored=0)


def _package_folder(package: str, catalogue: Path) -> Path:
    # Finding does not import: scikit-image would take a second.
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The package {package}, whose images {catalogue} lists, is not installed: install it.")
    return Path(next(iter(spec.submodule_search_locations)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): mend it or take it out of the corpus.") from None
