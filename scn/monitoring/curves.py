"""The curves of a run, as tables for DVC and events for TensorBoard.

FOLDER/plots/metrics/<name>.tsv   step and value; by dvclive where it is installed
FOLDER/tensorboard/               the same and sample images, for `tensorboard --logdir curves`
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scn.monitoring.tensorboard import Events
from scn.shards.samples import Image


class Curves:
    """Writes the curves of one run, in place of those that are in its folder.

    A disk that is full ends the curves, not the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._failed = False
        with self._carefully():
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
            self._table = _table(folder)
            self._events = Events(folder / "tensorboard")

    def add(
        self,
        step: int,
        *,
        tables: Mapping[str, float] | None = None,
        events: Mapping[str, float] | None = None,
        images: Mapping[str, Image] | None = None,
    ) -> None:
        """The points of `step`: name -> value for the tables, tag -> value or image for TensorBoard."""
        with self._carefully():
            if self._failed:
                return
            self._table.step = step
            for name, value in (tables or {}).items():
                self._table.log_metric(name.replace("/", "-"), value)
            for tag, value in (events or {}).items():
                self._events.scalar(step, tag, value)
            for tag, image in (images or {}).items():
                self._events.image(step, tag, image)

    def close(self) -> None:
        with self._carefully():
            if not self._failed:
                self._table.end()

    @contextmanager
    def _carefully(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            print(
                f"{self.folder} can't be written ({error.strerror}): the run goes on without curves, "
                "which the next start writes anew.",
                file=sys.stderr,
            )


class _Table:
    """What Curves uses of dvclive.Live."""

    def __init__(self, folder: Path) -> None:
        self.step = 0
        self._folder = folder / "plots" / "metrics"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def log_metric(self, name: str, value: float) -> None:
        with (self._folder / f"{name}.tsv").open("a", newline="") as file:
            if not file.tell():
                file.write(f"step\t{name}\n")
            file.write(f"{self.step}\t{value}\n")

    def end(self) -> None:
        pass


def _table(folder: Path) -> Any:
    try:
        from dvclive import Live
    except ImportError:
        return _Table(folder)
    return Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
