"""Lists the corpora, and checks whether those on this machine are complete and unchanged."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from data_prep.fetch import readable
from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.hashing import file_sha256
from scn.corpora.catalogue import Split, load_catalogue
from scn.corpora.corpora import Source, content_sha256, hint_for, list_images, look_at, open_corpus
from scn.corpora.places import CATALOGUE, Place, files_below, is_image, own_archive, package_folder, places_of, root_of
from scn.corpora.unpacked import check_unpacked, holds, origin_of

HEADER = ("corpus", "images", "size", "licence", "use", "where")
"""Columns of the table of corpora."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of checking a corpus or one of its splits."""

    title: str
    """NAME or NAME/SPLIT."""
    summary: str
    """Number of images, their place, and how far they were verified; "" if there are none."""
    problems: tuple[str, ...]
    """A sentence for each problem; empty if there is none."""


def check(params: Params, reference: str, workers: int = 0) -> Iterator[Finding]:
    """Checks a corpus on this machine: folders, number of images, their headers, and the content if its hash is known.

    Every file is read, an archive of the user's own too, whether it seems unchanged or not. Nothing is downloaded, and
    no pixels are decoded.

    Args:
        reference: NAME or NAME/SPLIT, of params.yaml or of the catalogue.
        workers: number of processes for many files, as for scn.core.parallel.carry_out; 0: this one.
    Raises:
        UserError: if there is no such corpus, or it is an archive of the user's own that is not unpacked.
    """
    name = reference.partition("/")[0]
    if name in params.corpora.local:
        check_unpacked(params, name)
        if (archive := own_archive(params, name)) and not holds(root_of(params) / name, file_sha256(archive)):
            problem = (
                f"{archive} holds something else than when it was unpacked, although its size and times are the same: "
                "restore it if it is damaged, or `touch` it if the change was meant."
            )
            yield Finding(title=name, summary="", problems=(problem,))
    places = places_of(params, reference)
    if not places:  # in a package: opening it compares every file with the catalogue
        opened = open_corpus(params, reference, recheck=True)
        yield _finding(reference, opened.images, "in an installed package, each as the catalogue lists it")
    for place in places:
        try:
            listed, _ = list_images(place, place.title, hint_for(params, place.title))
            images, differing = look_at(listed, params.root, workers, recheck=True)
        except UserError as error:
            yield Finding(title=place.title, summary="", problems=(str(error),))
            continue
        state, *problems = _compare(place, images)
        problems += [
            f"{image.path} holds something else than when it was last read, although its size and times are the same: "
            "restore it if it is damaged, or `touch` it if the change was meant."
            for image in differing
        ]
        yield _finding(place.title, images, f"in {_shown(place.found)}, {state}", problems)


def rows(params: Params) -> list[tuple[str, ...]]:
    """Rows of the table of corpora (columns: HEADER), of params.yaml and of the catalogue; local ones come first."""
    catalogue, asked = load_catalogue().corpora, params.corpora.download
    own = dict.fromkeys(params.corpora.local, "")
    own |= {name: value.partition("#")[0] for name, value in asked.items() if value != CATALOGUE}
    found = []
    for name, url in own.items():
        places = places_of(params, name)
        sizes = _sizes(place.found for place in places)
        where = _where(places)
        if where == "-" and name in params.corpora.local and (archive := own_archive(params, name)):
            where = f"{_shown(archive)}, not unpacked"
        found.append((name, str(len(sizes) or "?"), readable(sum(sizes)), "your own", url, where))
    for name in catalogue.keys() - own.keys():
        entry, (_, home, splits) = catalogue[name], load_catalogue().resolve(name)
        places = places_of(params, name)
        count = str(sum(split.images for split in splits.values()))
        size, where = readable(sum(_sizes(place.found for place in places))), _where(places)
        if home.package:
            folder, where = package_folder(home.package) / home.folder, f"the package {home.package}"
            size = readable(sum((folder / file).stat().st_size for split in splits.values() for file in split.files))
        elif where == "-":
            size = _download_size(splits.values())
        found.append((name, count, size, entry.licence, entry.use, where))
    return sorted(found, key=lambda row: (row[-1] == "-", row[0].lower()))


def print_rows(params: Params) -> None:
    """Prints the table of corpora as wide as the terminal; without a terminal it has 120 characters."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=120)  # a log or a pipe has no width of its own
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in HEADER:
        right = column in ("images", "size")
        table.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows(params):
        table.add_row(*row)
    console.print(table)


def _finding(title: str, images: Iterable[Source], state: str, problems: Iterable[str] = ()) -> Finding:
    images = tuple(images)
    refused = tuple(image.refusal for image in images if image.refusal)
    return Finding(title=title, summary=f"{len(images)} images {state}", problems=(*problems, *refused))


def _compare(place: Place, images: Iterable[Source]) -> tuple[str, ...]:
    """A few words on how far the content of a place is verified, and a sentence if it is wrong."""
    content = content_sha256(images, f"{place.split}/" if place.split else "")
    origin = origin_of(place.found) if place.found else {}
    if place.known and place.known.content == content:
        return ("the usual copy, verified",)
    if origin and not place.below:
        if origin.get("content") == content:
            return (f"as unpacked from {origin.get('archive')}",)
        return "changed", (
            f"{place.found} is no longer what was unpacked from {origin.get('archive')}: remove it and run "
            f"`data-prep download {place.title}`."
        )
    if place.known and place.known.content:
        return ("another copy than the usual one, or in another file format",)
    return ("with nothing to compare the content with",)


def _where(places: Iterable[Place]) -> str:
    places = list(places)
    found = [place for place in places if place.found]
    folders = dict.fromkeys(
        _shown(place.found.parent if place.split else place.found) for place in found if place.found
    )
    return ("partly " if 0 < len(found) < len(places) else "") + (", ".join(folders) or "-")


def _shown(path: Path | None) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path and path.is_relative_to(here) else path)


def _sizes(folders: Iterable[Path | None]) -> list[int]:
    """The sizes of the images in folders; none of a folder that can't be read, of which `data-prep check` tells."""
    sizes = list[int]()
    for folder in filter(None, folders):
        with suppress(OSError, UserError):
            files = [folder / name for name in files_below(folder) if is_image(name)]
            sizes += [file.stat().st_size for file in files if file.is_file()]  # not of a link that leads nowhere
    return sizes


def _download_size(splits: Iterable[Split]) -> str:
    names = {split.origins[0].archive for split in splits if split.origins}
    sizes = [load_catalogue().archives[name].bytes for name in names]
    return readable(sum(size or 0 for size in sizes)) if all(sizes) else "?"
