"""Corpora: the images below a folder, below the folders of some splits, or in an installed package.

A reference is `NAME`, or `NAME/SPLIT` for one of its splits (of a folder of the user's own: a sub-folder). Images are
sorted by name, so their order does not depend on a file system. On a cluster the machines that make the shards must see
a folder under the same path.
"""

import builtins
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.schema import unknown
from scn.corpora.catalogue import load_catalogue
from scn.corpora.hash_cache import PATH, Facts, stamp
from scn.corpora.places import (
    CATALOGUE,
    IMAGE_SUFFIXES,
    Place,
    files_below,
    is_image,
    own_archive,
    package_folder,
    places_of,
)
from scn.corpora.reading import facts_of, read_file
from scn.corpora.unpacked import check_unpacked, origin_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One image file of a corpus."""

    name: str
    """Path below the corpus, with forward slashes; the same in every copy, whatever its folders are called."""
    path: Path
    split: str | None
    """Split of the corpus that the image belongs to, if it has splits."""
    sha256: str
    """SHA-256 of the file, in hexadecimal."""
    bytes: int
    """Size of the file in bytes."""
    width: int
    """Width of the decoded image in pixels; 0 if the header can't be read."""
    height: int
    """Height of the decoded image in pixels; 0 if the header can't be read."""
    mode: str
    """Pillow's mode of the pixels in the file, such as "RGB" or "P"; "" if the header can't be read."""
    refusal: str | None = None
    """Sentence that says why the image can't be used, if its header already tells; None otherwise."""

    def read(self) -> builtins.bytes:
        """The file's content. Raises UserError if it is not what it was when it was hashed."""
        data = read_file(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise UserError(
                f"{self.path} changed while it was being prepared, or is damaged: run `data-prep check` on its corpus, "
                "which reads every file again, and then this command."
            )
        return data


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The images that a reference stands for, sorted by name."""

    reference: str
    """NAME, NAME/SPLIT, or a folder's name."""
    images: tuple[Source, ...]
    ignored: int
    """Number of other files, which have no suffix of an image."""

    @property
    def sha256(self) -> str:
        """SHA-256 over the names and contents of the images."""
        return content_sha256(self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """An image file that was found, but not opened yet."""

    name: str
    """Path below the corpus, with forward slashes."""
    path: Path
    split: str | None
    """Split of the corpus that the image belongs to, if it has splits."""


def content_sha256(images: Iterable[Source], prefix: str = "") -> str:
    """SHA-256 over the contents of images and their names, from which `prefix` is removed."""
    whole = hashlib.sha256(b"[")  # scn.core.hashing.digest of the list of all pairs, which is not made
    first = True
    for image in images:
        pair = json.dumps([image.name.removeprefix(prefix), image.sha256], separators=(",", ":"))
        whole.update((pair if first else f",{pair}").encode())
        first = False
    whole.update(b"]")
    return whole.hexdigest()


def open_corpus(params: Params, reference: str, workers: int = 0, *, recheck: bool = False) -> Corpus:
    """Finds the images of a corpus, hashes them and reads their headers (scn.corpora.reading).

    Images that can't be used are among them, with their `refusal`. Nothing is downloaded or unpacked.

    Args:
        reference: NAME or NAME/SPLIT, of params.yaml or of the catalogue.
        workers: number of processes for many files, as for scn.core.parallel.carry_out; 0: this one.
        recheck: reads files too that seem unchanged since they were last read.
    Raises:
        UserError: if the corpus is not here, empty or incomplete, or no such corpus is known.
    """
    name = reference.partition("/")[0]
    places = places_of(params, reference)
    if not places:
        return _from_package(reference, params.root, recheck=recheck)
    if name in params.corpora.local:
        check_unpacked(params, name)
    hint = hint_for(params, reference)
    images, ignored = list[Source](), 0
    for place in places:
        listed, others = list_images(place, reference, hint)
        found, _ = look_at(listed, params.root, workers, recheck=recheck)
        _check_origin(place, found)
        images += found
        ignored += others
    return Corpus(reference=reference, images=tuple(images), ignored=ignored)


def open_images(params: Params, reference: str, workers: int = 0) -> Corpus:
    """Opens a corpus like open_corpus, or any folder of images as a corpus of the folder's name.

    Args:
        reference: NAME or NAME/SPLIT, or the path of a folder.
        workers: number of processes, as for open_corpus.
    Raises:
        UserError: as for open_corpus, or if `reference` is neither a corpus nor a folder.
    """
    name = reference.partition("/")[0]
    folder = Path(reference).expanduser().absolute()
    if name in params.corpora.names or (name in load_catalogue().corpora and not folder.is_dir()):
        return open_corpus(params, reference, workers)
    if not folder.is_dir():
        raise UserError(
            f"'{reference}' is neither a folder nor a corpus of {params.path} "
            f"({', '.join(sorted(params.corpora.names))}) or of the catalogue: name one of these."
        )
    place = Place(corpus=folder.resolve().name, split="", known=None, candidates=(folder,))
    listed, ignored = list_images(place, reference, "name another folder")
    images, _ = look_at(listed, params.root, workers)
    return Corpus(reference=place.corpus, images=tuple(images), ignored=ignored)


def listing_of(params: Params, name: str) -> str:
    """The files of a corpus of corpora.local with their stamps (hash_cache.stamp), as JSON; none of them is opened.

    DVC compares it, and reads the images only when it has changed. Another machine has other stamps, so it reads its
    copies once; the index that this gives is the same, and nothing else is made again.

    Raises:
        UserError: if the corpus is not here or empty, or params.yaml has no such corpus.
    """
    if name not in params.corpora.local:
        raise UserError(f"{params.path}: corpora.local: {unknown(name, params.corpora.local, 'corpus')}.")
    if archive := own_archive(params, name):
        files = {archive.name: archive}
    else:
        (place,) = places_of(params, name)
        files = {image.name: image.path for image in list_images(place, name, hint_for(params, name))[0]}
    rows = {}
    for file, path in sorted(files.items()):
        try:
            rows[file] = stamp(path.stat())
        except OSError as error:  # a link to nothing
            raise UserError(f"{path} can't be read ({error.strerror}): mend it or take it out of the corpus.") from None
    return json.dumps(rows, indent=1) + "\n"


def licence_of(params: Params, name: str) -> str:
    """The licence of a corpus's images, as the catalogue knows it; "" for folders, archives and URLs of one's own."""
    known = params.corpora.download.get(name) == CATALOGUE
    return load_catalogue().corpora[name].licence if known else ""


def index_of(corpus: Corpus, licence: str = "") -> str:
    """The index of a corpus: names, sizes and checksums of its images, as JSON without paths of this machine."""
    about: dict[str, object] = {"licence": licence} if licence else {}
    about |= {"name": corpus.reference, "sha256": corpus.sha256, "ignored": corpus.ignored, "images": []}
    before, images, after = json.dumps(about, indent=1, sort_keys=True).partition('"images": [')
    # Row by row, as json.dumps takes kilobytes for each of what may be millions.
    rows = [json.dumps(_row(image), indent=1, sort_keys=True).replace("\n", "\n  ") for image in corpus.images]
    return before + images + "\n  " + ",\n  ".join(rows) + "\n " + after + "\n"


def _row(image: Source) -> dict[str, object]:
    row: dict[str, object] = {"name": image.name, "bytes": image.bytes, "sha256": image.sha256}
    row |= {"width": image.width, "height": image.height, "mode": image.mode}
    row |= {"split": image.split} if image.split else {}
    return row | ({"refused": image.refusal.replace(str(image.path), image.name)} if image.refusal else {})


def hint_for(params: Params, reference: str) -> str:
    """Words for `list_images` on what to do if images of a corpus are missing; a user's own folder isn't downloaded."""
    name = reference.partition("/")[0]
    if name in params.corpora.local:
        return f"put images there or correct corpora.local.{name} in {params.path}"
    return f"run `data-prep download {reference}`, or put them there"


def list_images(place: Place, reference: str, hint: str) -> tuple[list[Listed], int]:
    """The image files of a place, sorted by name, and the number of other files.

    Args:
        reference: the corpus, for messages.
        hint: words for messages on what to do if images are missing.
    Raises:
        UserError: if the folder is missing, is empty, can't be read, or has not as many images as the catalogue says.
    """
    folder = place.found
    start = folder / place.below if folder else None
    if folder is None or start is None or not start.is_dir():
        missing = (place.target if folder is None else folder) / place.below
        tree = f" ({place.known.images} images: {place.known.tree})" if place.known else ""
        state = "is empty" if missing.is_dir() else "does not exist"
        raise UserError(f"The folder {missing}{tree} of the corpus '{reference}' {state}: {hint}.")
    try:
        names = [place.below + "/" * bool(place.below) + name for name in files_below(start)]
    except OSError as error:
        raise UserError(f"The folder {error.filename} can't be read ({error.strerror}): make it readable.") from None
    prefix = f"{place.split}/" if place.split else ""
    images = sorted(filter(is_image, names))
    if not images:
        suffixes = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise UserError(f"The folder {start} of the corpus '{reference}' holds no image ({suffixes}): {hint}.")
    if place.known and len(images) != place.known.images:
        raise UserError(
            f"The folder {start} holds another number of images ({len(images)}) than {place.title} has "
            f"({place.known.images}: {place.known.tree}): complete it, or remove it and run `data-prep download "
            f"{reference}`."
        )
    listed = []
    for below in images:
        name = prefix + below
        split = intern(name.partition("/")[0]) if "/" in name else None
        listed.append(Listed(name=name, path=folder / below, split=split))
    return listed, len(names) - len(images)


def _check_origin(place: Place, images: Iterable[Source]) -> None:
    """Raises UserError if the images of an unpacked folder have changed since."""
    content = origin_of(place.found).get("content") if place.found and not place.below else None
    if content and content != content_sha256(images, f"{place.split}/" if place.split else ""):
        raise UserError(
            f"The images in {place.found} are no longer what was unpacked: remove the folder and run "
            f"`data-prep download {place.title}`."
        )


def look_at(
    listed: Sequence[Listed], root: Path, workers: int = 0, *, recheck: bool = False
) -> tuple[list[Source], list[Source]]:
    """Hashes files and reads their headers; see scn.corpora.reading.facts_of for the arguments.

    Returns:
        The images in their order, and those of them that `recheck` found with another content than they had, although
        they seem unchanged.
    """
    facts, differing = facts_of([image.path for image in listed], root, workers, recheck=recheck)
    images = [_source(image, of_image) for image, of_image in zip(listed, facts, strict=True)]
    return images, [images[number] for number in differing]


def _from_package(reference: str, root: Path, *, recheck: bool) -> Corpus:
    _, entry, splits = load_catalogue().resolve(reference)
    folder = package_folder(entry.package) / entry.folder
    listed, expected = [], {}
    for split, known in splits.items():
        for name, sha256 in known.files.items():
            if not (folder / name).is_file():
                raise UserError(
                    f"The package {entry.package} has no file {entry.folder}/{name}, which the catalogue lists: "
                    "install another version of it."
                )
            listed.append(Listed(name=name, path=folder / name, split=split))
            expected[name] = sha256
    images, _ = look_at(sorted(listed, key=lambda image: image.name), root, recheck=recheck)
    for image in images:
        if image.sha256 != expected[image.name]:
            raise UserError(
                f"{image.path} is not the file that the catalogue lists (its SHA-256 differs): install another version "
                f"of {entry.package}."
            )
    return Corpus(reference=reference, images=tuple(images), ignored=0)


def _source(listed: Listed, facts: Facts) -> Source:
    return Source(
        name=listed.name,
        path=listed.path,
        split=listed.split,
        sha256=facts.sha256,
        bytes=facts.bytes,
        width=facts.width,
        height=facts.height,
        mode=facts.mode,
        refusal=facts.refusal and facts.refusal.replace(PATH, str(listed.path)),
    )
