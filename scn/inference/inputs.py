"""What `scn restore IN... OUT` is to do: every file with its target, and what is left alone."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

from scn.core.errors import UserError
from scn.core.files import HIDDEN
from scn.imaging.formats import Format, check_can, format_of, looks_like_an_image, named

PIPE = "-"
"""Stands for the standard input or output."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to restore."""

    source: Path | None
    """The file; None: the standard input."""
    target: Path | None
    """The file of the result; None: the standard output."""
    as_format: Format

    @property
    def name(self) -> str:
        """What messages call the image."""
        return str(self.source or "the standard input")


@dataclass(kw_only=True)
class Plan:
    """What a command is to do."""

    jobs: list[Job] = field(default_factory=list)
    already: list[Path] = field(default_factory=list)
    """Targets that are there, no older than their sources."""
    left_out: list[str] = field(default_factory=list)
    """Files and folders that are not restored: no images, sub-folders, or those whose results are there, but older."""


def plan(
    sources: Sequence[str],
    target: str,
    *,
    recursive: bool = False,
    as_format: str | None = None,
    suffix: str = "",
    overwrite: bool = False,
) -> Plan:
    """Finds the images and names their results.

    One file becomes the file `target`, whose suffix names the format, and which must be new, or `overwrite`; several,
    or those of a folder, become target/NAME.png, with their sub-folders if `recursive`. Images of a folder whose
    results would have one name (a.jpg, a.png) keep the whole of theirs (a.jpg.png).

    Args:
        sources: files, folders, patterns such as *.jpg, or PIPE.
        target: a file, a folder, or PIPE.
        recursive: take the images in sub-folders, too.
        as_format: name of the results' format; None: that of the target's suffix, or PNG.
        suffix: is put behind the name of each result in a folder.
        overwrite: restore again what is there.
    Raises:
        UserError: if there is nothing to restore, or a target has no known suffix, is a source, or is there already.
    """
    wanted = named(as_format) if as_format else None
    check_suffix(suffix)
    found, result = _found(sources, Path(target), recursive, target == PIPE), Plan()
    if target != PIPE and not suffix and any(_same_folder(source, target) for source in sources):
        raise UserError(
            f"{target} holds the images themselves, and the next time results among them would be restored, too: name "
            "another folder."
        )
    result.left_out = [name for name in found.left_out if name]
    if not found.images:
        where = ", ".join(sources)
        hint = "; --recursive takes sub-folders" if found.folders and not recursive else ""
        raise UserError(f"{where} holds no images: put the images that you want restored into it{hint}.")
    if found.folders and not recursive:
        result.left_out += [f"{folder}/ (--recursive takes it)" for folder in found.folders]
    if target == PIPE:
        if len(found.images) > 1:
            raise UserError(f"The standard output takes one image, not {len(found.images)}: name a folder.")
        result.jobs = [Job(source=found.images[0][0], target=None, as_format=_checked(wanted or named("png"), "-"))]
        return result
    to_folder = found.several or Path(target).is_dir() or target.endswith(("/", "\\"))
    if suffix and not to_folder:
        raise UserError(f"--suffix is for the names of results in a folder, and {target} has its name: leave it out.")
    if found.several and not Path(target).is_dir():  # before anything is computed
        _check_folder(target, len(found.images))
    for source, path, kind in _targets(found.images, Path(target), to_folder, wanted, suffix):
        _check(source, path, found.images)
        _checked(kind, path)
        there = path.exists() and not overwrite
        if there and (source is None or not to_folder):
            raise UserError(f"{path} is there already: --overwrite replaces it, or name another file.")
        if source and there and _is_older(path, source):  # or a file that has nothing to do with it
            result.left_out.append(f"{source} ({path} is older: --overwrite replaces it)")
        elif there:
            result.already.append(path)
        else:
            result.jobs.append(Job(source=source, target=path, as_format=kind))
    return result


def check_suffix(suffix: str) -> None:
    """Raises UserError for a --suffix that would put results elsewhere."""
    if Path(suffix).name != suffix:
        raise UserError(f"--suffix: '{suffix}' would name another folder: give letters without a slash.")


@dataclass(kw_only=True)
class _Found:
    images: list[tuple[Path | None, Path]] = field(default_factory=list)
    """A file (None: the standard input), and its path below the folder that was named."""
    left_out: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    several: bool = False


def _found(sources: Sequence[str], target: Path, recursive: bool, to_pipe: bool) -> _Found:
    found = _Found()
    for source in sources:
        if source == PIPE:
            found.images.append((None, Path("stdin")))
            continue
        paths = [Path(source)]
        if not paths[0].exists() and has_magic(source):
            paths = [Path(path) for path in sorted(glob(source, recursive=True))]  # noqa: PTH207 - it may be absolute
            found.several = True
            if not paths:
                raise UserError(f"{source} matches no file: name an image or a folder of images.")
        for path in paths:
            if not path.exists():
                raise UserError(f"{path} does not exist: name an image or a folder of images.")
            if not path.is_dir():
                if not path.is_file():
                    raise UserError(f"{path} is a pipe or a device: name a file, or - for the standard input.")
                found.images.append((path, Path(path.name)))
                continue
            found.several = True
            for inside in _inside(path, target, recursive):
                if inside.is_dir():
                    found.folders.append(str(inside.relative_to(path)))
                elif looks_like_an_image(inside) and (inside.is_file() or not inside.exists()):  # no pipe
                    found.images.append((inside, inside.relative_to(path)))
                else:
                    found.left_out.append(str(inside.relative_to(path)))
    found.images = _once(found.images)
    found.several = found.several or len(found.images) > 1
    return found


def _once(images: Sequence[tuple[Path | None, Path]]) -> list[tuple[Path | None, Path]]:
    """Each image once: by the name that is no link, or the first one of several."""
    chosen: dict[Path | None, tuple[Path | None, Path]] = {}
    for path, below in images:
        real = path.resolve() if path else None
        if real not in chosen or (path and path.absolute() == real):
            chosen[real] = (path, below)
    return list(dict.fromkeys(each for each in images if each in chosen.values()))


def _inside(folder: Path, target: Path, recursive: bool, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The files in a folder, and its folders if they are not entered.

    Hidden ones are left out, as is the target, and a link to a folder that it lies in.
    """
    above |= {folder.resolve()}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", HIDDEN)) or (path.is_dir() and path.resolve() in {target.resolve(), *above}):
            continue
        if path.is_dir() and recursive:
            yield from _inside(path, target, recursive, above)
        else:
            yield path


def _targets(
    images: Sequence[tuple[Path | None, Path]], target: Path, to_folder: bool, wanted: Format | None, suffix: str
) -> Iterator[tuple[Path | None, Path, Format]]:
    if not to_folder:
        kind = _agreed(target, wanted)
        yield images[0][0], target, kind
        return
    kind = wanted or named("png")
    names = [str(below.with_suffix("")) for _, below in images]
    twins = {name for name, count in Counter(names).items() if count > 1}
    used: dict[Path, Path | None] = {}
    for (source, below), name in zip(images, names, strict=True):
        stem = below.name if name in twins else below.stem
        path = target / below.with_name(f"{stem}{suffix}{kind.suffixes[0]}")
        if path in used:
            raise UserError(f"{source} and {used[path]} would both become {path}: name their folder instead.")
        used[path] = source
        yield source, path, kind


def _agreed(target: Path, wanted: Format | None) -> Format:
    """The format of a target that is a file."""
    if wanted is None or looks_like_an_image(target):
        named_by_it = format_of(target)
        if wanted not in (None, named_by_it):
            raise UserError(f"{target} names {named_by_it.name} and --format {wanted.name}: leave one of them out.")
        return named_by_it
    return wanted


def _check_folder(target: str, count: int) -> None:
    """Raises UserError if a target that is no folder yet is a file, or is named as one."""
    whose = "1 image" if count == 1 else f"{count} images"
    if Path(target).exists():
        raise UserError(f"{target} is a file, and the results of {whose} go into a folder: name a folder.")
    if looks_like_an_image(Path(target)) and not target.endswith(("/", "\\")):
        raise UserError(f"{target} names a file, and the results of {whose} go into a folder: name one, as results/.")


def _checked(kind: Format, path: Path | str) -> Format:
    check_can(kind, path)
    return kind


def _check(source: Path | None, target: Path, images: Sequence[tuple[Path | None, Path]]) -> None:
    inputs = {path.resolve() for path, _ in images if path}
    if target.resolve() in inputs:
        raise UserError(f"{target} would replace the image it is made from: name another place for the result.")
    if target.is_dir():
        raise UserError(f"{target} is a folder: name another place for the result.")


def _same_folder(source: str, target: str) -> bool:
    return source != PIPE and Path(source).is_dir() and Path(source).resolve() == Path(target).resolve()


def _is_older(target: Path, source: Path) -> bool:
    return target.stat().st_mtime < source.stat().st_mtime


def read_pipe() -> bytes:
    """All that comes from the standard input."""
    return sys.stdin.buffer.read()
