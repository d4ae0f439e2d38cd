"""The curves of a run, as tables for DVC and events for TensorBoard.

FOLDER/plots/metrics/<name>.tsv   step and value
FOLDER/tensorboard/               the same and sample images, for `tensorboard --logdir curves`
"""

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from scn.shards.samples import Image

if TYPE_CHECKING:
    from scn.monitoring.tensorboard import EventFile


class Point(NamedTuple):
    """What is known after `step` steps."""

    step: int
    tables: Mapping[str, float]
    """Name -> value, for the tables."""
    events: Mapping[str, float]
    """Tag -> value, for TensorBoard."""
    images: Mapping[str, Image] = MappingProxyType({})
    """Tag -> image, for TensorBoard."""


class Curves:
    """Writes the curves of one run into a folder, and deletes those of an earlier run there.

    If the disk fails, the curves end, not the run. Where tensorboardX is not installed there are only the tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables = folder / "plots" / "metrics"
        self._events: EventFile | None = None
        self._failed = False
        with self._carefully():
            for old in (folder / "tensorboard", self._tables):
                shutil.rmtree(old, ignore_errors=True)
            self._tables.mkdir(parents=True)
            self._events = _events(folder / "tensorboard")

    def add(self, points: Sequence[Point]) -> None:
        """Adds points; opens each table and waits for the disk once, however many they are."""
        rows = defaultdict[str, list[str]](list)
        for point in points:
            for name, value in point.tables.items():
                rows[name.replace("/", "-")].append(f"{point.step}\t{value}\n")
        with self._carefully():
            if self._failed:
                return
            for name, told in rows.items():
                self._add_rows(name, told)
            if self._events is not None:
                for point in points:
                    self._events.add(point.step, point.events, point.images)
                self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        with self._carefully():
            if self._events is not None:
                self._events.close()

    def _add_rows(self, name: str, rows: Sequence[str]) -> None:
        with (self._tables / f"{name}.tsv").open("a", newline="") as file:
            if not file.tell():
                file.write(f"step\t{name}\n")
            file.writelines(rows)

    @contextmanager
    def _carefully(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._failed:
                print(
                    f"{self.folder} can't be written ({error.strerror}): the run goes on without curves, "
                    "which the next start writes anew.",
                    file=sys.stderr,
                )
            self._failed = True


def _events(folder: Path) -> "EventFile | None":
    try:
        from scn.monitoring.tensorboard import EventFile
    except ImportError:
        return None
    return EventFile(folder)
