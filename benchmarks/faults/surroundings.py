"""What surrounds the pipeline fails: the disk is full, the clock jumps, somebody starts the same at the same time."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.faults.event import LOST, Event
from benchmarks.faults.kills import finish, undisturbed
from benchmarks.faults.project import REPRO, Project, full_name, last_sentence
from benchmarks.faults.running import Running

PART = "surroundings"
DISTURBED = ("shard", "train", "evaluate", "ensemble", "publish")
"""Stages during which something fails."""
FREE = 48 * 1024
"""Bytes that are left on the full disk: enough for DVC's own notes, not for what a stage makes."""
DISK_MIB = 3072
JUMPS: Mapping[str, str] = {"an hour ahead": "+3600", "an hour back": "-3600"}
TOGETHER = 3
"""Times that two commands are started at once."""


def surroundings(folder: Path) -> Iterator[Event]:
    """Fills the disk and lets the clock jump during each of DISTURBED, and starts the pipeline twice at once."""
    with disk(folder / "disk") as place:
        if place:
            yield from _full_disk(place)
        else:
            print("The full disk is left out: only root can mount one.", flush=True)
    library = next((path for path in sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
    if library:
        yield from _clock(folder / "clock", library)
    else:
        print("The clock is left out: libfaketime is not there (Debian's package faketime).", flush=True)
    yield from _together(folder / "together")


@contextmanager
def disk(place: Path, mib: int = DISK_MIB) -> Iterator[Path | None]:
    """Context with a disk of its own in the new folder `place`; None where it can't be mounted."""
    place.mkdir(parents=True)
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "scn-faults", str(place)], stderr=subprocess.DEVNULL
        ).returncode
    )
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def _full_disk(place: Path) -> Iterator[Event]:
    project = Project(place)
    project.make(ray=False)
    _, results = undisturbed(project)
    for stage in DISTURBED:
        project.restore(f"before-{stage}")
        ballast = place / "ballast"
        fill(ballast, shutil.disk_usage(place).free - FREE)
        running = Running(project)
        status = running.end()
        ballast.unlink()
        yield _finish(project, results, "the disk is full", stage, running, status)


def fill(path: Path, size: int) -> None:
    """Takes `size` bytes of the disk."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _clock(folder: Path, library: Path) -> Iterator[Event]:
    folder.mkdir()
    clock = folder / "time"
    project = Project(folder)
    project.make(ray=False)
    _, results = undisturbed(project)
    project.here.environment |= {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a real clock that is set leaves the monotonic one as it is
    }
    for jump, offset in JUMPS.items():
        for stage in DISTURBED:
            project.restore(f"before-{stage}")
            clock.write_text("+0\n")
            running = Running(project)
            begun = running.wait_for(f"Running stage '{full_name(stage)}'")
            _set(clock, offset)
            dealt = begun and running.process.poll() is None
            status = running.end()
            yield _finish(project, results, f"the clock jumps {jump}", stage, running, status, dealt)


def _set(clock: Path, offset: str) -> None:
    new = clock.with_suffix(".new")
    new.write_text(f"{offset}\n")
    new.replace(clock)


def _together(folder: Path) -> Iterator[Event]:
    project = Project(folder)
    project.make(ray=False)
    _, results = undisturbed(project)
    for _ in range(TOGETHER):
        project.restore("before-")
        both = [Running(project), Running(project)]
        statuses = [running.end() for running in both]
        failed = [running for running, status in zip(both, statuses, strict=True) if status]
        worst = next((status for status in statuses if status != 0), 0)
        shown = failed[0] if failed else both[0]
        event = _finish(project, results, f"two `{' '.join(REPRO)}` at once", "all", shown, worst)
        yield event if len(failed) < 2 else replace(event, outcome=LOST, note=f"{event.note}; both failed")


def _finish(
    project: Project,
    results: Mapping[str, str | bytes],
    fault: str,
    stage: str,
    running: Running,
    status: int | None,
    dealt: bool = True,
) -> Event:
    told = last_sentence(running.printed) if status else ""
    about = {"part": PART, "fault": fault, "stage": stage, "told": told, "note": ""}
    return finish(project, results, about, status, [], dealt=dealt)
