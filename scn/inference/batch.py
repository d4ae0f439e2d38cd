"""Restores many image files: they are read, restored and written side by side, and one that fails stops no other."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from scn.core import terminal
from scn.core.errors import DiskFullError, UserError
from scn.core.files import unwritten, write_atomically
from scn.imaging.formats import Format, format_of, looks_like_an_image
from scn.imaging.image_io import (
    Photograph,
    check_holds,
    decode_photograph,
    encode_photograph,
    lost,
    read_photograph,
    size_of,
)
from scn.inference.inputs import Job, read_pipe
from scn.inference.restore import Done

AHEAD = 24_000_000
"""Most pixels of an image that is read while the one before it is restored, or written while the next one is: larger
ones have memory to themselves."""

T = TypeVar("T")
_Ready = tuple[Photograph, bool]  # the result; False: it is the photograph that was read
Restore = Callable[[Photograph, str, Done], Photograph]
"""Restores a photograph; is told what errors call it, and counts the pixels of the input that are done.

What it returns as it was, the same object, is put in place as the file that it came of, where that has the format of
the result."""


class NothingToRestore(Exception):  # noqa: N818 - it is no error
    """A photograph is as good as the models would make it; the message says what was found."""


@dataclass(kw_only=True)
class Outcome:
    """What became of the images."""

    restored: list[Path | None] = field(default_factory=list)
    """The files written; None: the standard output."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """The images that were not restored, and why."""
    nothing: list[str] = field(default_factory=list)
    """The images in which there is nothing to restore, which are not in place."""
    copied: int = 0
    """How many images are in place as they came."""
    stopped: bool = False
    """Ctrl-C came before all were done."""
    full: bool = False
    """There was no room for a result, so that the rest was not begun."""
    left: int = 0
    """How many images were not begun, or not ended."""


def restore_all(jobs: Sequence[Job], restore: Restore, quality: int | None = None) -> Outcome:
    """Restores images; each result is written whole or not at all, and replaces a file of its name.

    What was converted, and what goes wrong, is told on the standard error while the others go on; where there is a
    terminal it shows progress and the time left, by pixels. Ctrl-C ends the image that is being restored; a full disk
    ends all, as it would the next ones.

    Args:
        quality: of lossy formats, 1..100; None: scn.imaging.formats has it.
    """
    outcome = Outcome()
    pixels = [_pixels(job) for job in jobs]
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=sum(pixels) / 1e6, leave=False, disable=None, bar_format=_BAR, **terminal.size())
        )
        reading, writing = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(2))
        written: list[tuple[Job, Future[bool]]] = []

        def settle(until: int) -> None:
            while len(written) > until or (written and written[0][1].done()):
                job, future = written.pop(0)
                if (restored := _tried(job, future.result, outcome)) is None:
                    continue
                if restored:
                    outcome.restored.append(job.target)
                else:
                    outcome.copied += 1

        try:
            for number, (job, read) in enumerate(_read(jobs, pixels, reading)):
                settle(2)
                if outcome.full:
                    break
                before = bar.n

                def count(more: int) -> None:
                    bar.update(more / 1e6)

                def work(job: Job = job, read: Callable[[], Photograph] = read, count: Done = count) -> _Ready:
                    photograph = read()
                    check_holds(job.as_format, photograph, _target(job))  # its result is no smaller
                    _tell(job, photograph.notes)
                    restored = restore(photograph, job.name, count)
                    return restored, restored is not photograph

                bar.set_description(f"{number + 1}/{len(jobs)}", refresh=False)
                if ready := _tried(job, work, outcome):
                    settle(0 if pixels[number] > AHEAD else 1)
                    written.append((job, writing.submit(_write, job, *ready, quality)))
                bar.update(before + pixels[number] / 1e6 - bar.n)  # of an image that failed, or was counted anew
            settle(0)
        except KeyboardInterrupt:
            outcome.stopped = True
            reading.shutdown(wait=False, cancel_futures=True)
            settle(0)
    done = len(outcome.restored) + len(outcome.failed) + len(outcome.nothing) + outcome.copied
    outcome.left = len(jobs) - done
    return outcome


_BAR = "{desc} {percentage:3.0f}% |{bar}| {n:.1f} of {total:.1f} MP, {elapsed} so far, {remaining} left"


def _read(
    jobs: Sequence[Job], pixels: Sequence[int], pool: ThreadPoolExecutor
) -> Iterator[tuple[Job, Callable[[], Photograph]]]:
    """Each job with a function that returns its photograph, which is read while the one before it is restored."""
    ahead: Future[Photograph] | None = None
    for number, job in enumerate(jobs):
        now, ahead = ahead or pool.submit(_photograph, job), None
        if number + 1 < len(jobs) and max(pixels[number : number + 2]) <= AHEAD:
            ahead = pool.submit(_photograph, jobs[number + 1])
        yield job, now.result


def _photograph(job: Job) -> Photograph:
    return read_photograph(job.source) if job.source else decode_photograph(read_pipe(), job.name)


def _target(job: Job) -> Path | str:
    return job.target or "the standard output"


def _write(job: Job, photograph: Photograph, restored: bool, quality: int | None) -> bool:
    """Writes a result; returns `restored`."""
    if not restored and job.source and job.target and _has_format(job.source, job.as_format):
        try:
            write_atomically(job.target, job.source.read_bytes())
        except OSError as error:
            raise UserError(f"{job.source} can't be read ({error.strerror}): leave it there meanwhile.") from None
        return restored
    _tell(job, lost(job.as_format, photograph))
    data = encode_photograph(photograph, job.as_format, _target(job), quality)
    if job.target:
        write_atomically(job.target, data)
    else:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise unwritten("The pipe", error) from None
    return restored


def _has_format(file: Path, kind: Format) -> bool:
    return looks_like_an_image(file) and format_of(file) == kind


def _tried(job: Job, work: Callable[[], T], outcome: Outcome) -> T | None:
    """The result of `work`; None if it failed, which is told and counted."""
    try:
        return work()
    except UserError as error:
        reason = str(error)
        if outcome.full and isinstance(error, DiskFullError):  # of a result that was on its way: told already
            outcome.failed.append((job.name, reason))
            return None
        outcome.full |= isinstance(error, DiskFullError)
    except NothingToRestore as found:
        _tell(job, (str(found),))
        outcome.nothing.append(job.name)
        return None
    except MemoryError:
        reason = f"{job.name} needs more memory than there is: end other programs, or cut the image into parts."
    except Exception as error:  # one image ends no folder, whatever is wrong with it
        what = " ".join(f"{type(error).__name__}: {error}".split())
        reason = f"{job.name} can't be restored ({what}): leave it out, and report it."
    tqdm.write(f"scn: {reason}", file=sys.stderr)
    outcome.failed.append((job.name, reason))
    return None


def _tell(job: Job, notes: Sequence[str]) -> None:
    for note in notes:
        tqdm.write(f"{job.name}: {note}", file=sys.stderr)


def _pixels(job: Job) -> int:
    """How many pixels an image has by its header; 0 if it says nothing."""
    if job.source is None:
        return 0
    try:
        width, height = size_of(job.source, job.name)
        return width * height
    except (UserError, OSError):  # whatever is wrong with it is told when it is read
        return 0
