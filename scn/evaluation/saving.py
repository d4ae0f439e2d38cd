"""Where `scn evaluate --save` writes restored images: a new folder, never among images that something reads."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from scn.config.params import Params
from scn.core.errors import UserError
from scn.core.files import check_local
from scn.core.hashing import digest
from scn.corpora.corpora import Source
from scn.corpora.places import places_of
from scn.evaluation.photographs import Photographs

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,79}")
"""What is a part of a path as it is, on every file system."""


def check_save(params: Params, save: Path, measured: Iterable[Photographs]) -> None:
    """Makes the folder for restored images.

    It has to be new or empty, and apart from images: what lay among them would be measured, or trained on, next time.

    Args:
        measured: the sets that are measured.
    Raises:
        UserError: if the folder holds something, lies in a folder of images, or holds one, or can't be made.
    """
    check_local("--save", save, "a folder")
    sets = list(measured)
    place = save.resolve()
    for folder, what in _folders(params, sets):
        if place.is_relative_to(folder) or folder.is_relative_to(place):
            how = "is" if place == folder else "lies in" if place.is_relative_to(folder) else "holds"
            raise UserError(f"--save: {save} {how} {folder}, with the images of {what}: name a folder apart from it.")
    for photographs in sets:
        _check_names(photographs)
    try:
        save.mkdir(parents=True, exist_ok=True)
        strange = next(save.iterdir(), None)
    except OSError as error:
        raise UserError(f"--save: {save} can't be made ({error.strerror}): name another folder.") from None
    if strange:
        raise UserError(f"--save: {save} holds something already, such as {strange.name}: name a new or empty folder.")


def component(text: str) -> str:
    """Returns what stands for a model, a set or a folder in the path of a picture: one part, another for each text."""
    if _SAFE.fullmatch(text):
        return text
    # The end of a path tells most; the hash keeps two folders of one name apart.
    words = re.sub(r"[^A-Za-z0-9_.@]+", "-", "-".join(Path(text).parts[-2:])).strip("-.")[-60:]
    return f"{words}-{digest(text)[:8]}".lstrip("-.")


def saved_as(save: Path, parts: Sequence[str], name: str) -> Path:
    """Returns the path of a restored image.

    Args:
        parts: what tells it from others of its name, such as the method.
        name: the image's name in its set.
    """
    return save.joinpath(*map(component, parts), _png(name))


def _png(name: str) -> str:
    """The name of a saved picture: a.png stays, a.jpg becomes a.jpg.png, so that both have a place."""
    return name if PurePosixPath(name).suffix == ".png" else f"{name}.png"


def _check_names(photographs: Photographs) -> None:
    taken = dict[str, str]()
    for image in photographs.corpus.images:
        if (other := taken.setdefault(_png(image.name), image.name)) != image.name:
            raise UserError(f"--save: {other} and {image.name} would both be {_png(image.name)}: rename one of them.")


def _folders(params: Params, sets: Iterable[Photographs]) -> Iterator[tuple[Path, str]]:
    """The folders of the images that are measured, and of all corpora, with what they hold."""
    for photographs in sets:
        images = (*photographs.corpus.images, *(photographs.inputs or {}).values())
        yield from ((root, photographs.corpus.reference) for root in dict.fromkeys(map(_root, images)))
    for name in params.corpora.names:
        with suppress(UserError):  # a corpus that has no place here
            for place in places_of(params, name):
                yield from ((candidate.resolve(), name) for candidate in place.candidates)


def _root(source: Source) -> Path:
    """The folder that the names of a corpus start from; a split's own folder may have another name than the split."""
    folder = source.path.parent
    for part in reversed(PurePosixPath(source.name).parent.parts):
        if folder.name != part:
            break
        folder = folder.parent
    return folder.resolve()
