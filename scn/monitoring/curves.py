"""The curves of a run, as tables for DVC and events for TensorBoard.

FOLDER/plots/metrics/<name>.tsv   step and value
FOLDER/tensorboard/               the same and sample images, for `tensorboard --logdir curves`
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scn.shards.samples import Image

if TYPE_CHECKING:
    from scn.monitoring.tensorboard import EventFile


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

    def add(
        self,
        step: int,
        *,
        tables: Mapping[str, float] | None = None,
        events: Mapping[str, float] | None = None,
        images: Mapping[str, Image] | None = None,
    ) -> None:
        """Adds the points of `step`: name -> value for the tables, tag -> value or image for TensorBoard."""
        with self._carefully():
            if self._failed:
                return
            for name, value in (tables or {}).items():
                self._add_row(name.replace("/", "-"), step, value)
            if self._events is not None:
                self._events.add(step, events or {}, images or {})

    def close(self) -> None:
        """Closes the files."""
        with self._carefully():
            if self._events is not None:
                self._events.close()

    def _add_row(self, name: str, step: int, value: float) -> None:
        with (self._tables / f"{name}.tsv").open("a", newline="") as file:
            if not file.tell():
                file.write(f"step\t{name}\n")
            file.write(f"{step}\t{value}\n")

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
