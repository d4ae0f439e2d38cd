"""Progress of a training run: its curves, a progress bar or a line from time to time, and a summary."""

import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from scn.core import terminal
from scn.monitoring.curves import Curves, Point
from scn.monitoring.line import ProgressLine
from scn.training.callbacks import Row
from scn.training.validation import Validated

LINE_SECONDS = 20.0
"""Seconds between two lines of progress, where there is no terminal for a bar."""
RECENT = 10
"""Number of last rows from which the time left and the share of waiting for patches are computed."""
WARNING_SHARE = 0.1
"""Share of the step time above which waiting for patches is reported."""

_TABLES = ("loss", "grad_norm", "learning_rate", "data_time", "step_time")
_EVENTS = ("loss", "grad_norm", "learning_rate", "patches_per_second")


class _Span(NamedTuple):
    """A number of steps and the seconds that they took: waiting for patches, and in total."""

    steps: int
    data: float
    total: float


class Progress:
    """Callbacks (scn.training.callbacks) that show a run and write its curves to `folder` (scn.monitoring.curves).

    A resumed run repeats every point from the first one on, so the curves, written anew, have no gap and no overlap;
    only the sample images of before are gone. A point that a restarted worker repeats is shown once.
    """

    def __init__(self, name: str, steps: int, folder: Path, *, grouped: bool = False) -> None:
        """Opens the curves; `grouped`: images are read in groups while others are used (train.group_mib)."""
        self.name, self.steps, self.grouped = name, steps, grouped
        self.curves = Curves(folder)
        self.bar = tqdm(total=steps, unit="step", desc=name, disable=not sys.stderr.isatty(), **terminal.size())
        self.start = self.said = time.perf_counter()
        self.first = self.last = self.kept = 0
        """Numbers of steps: done before this process; shown so far; done in the newest checkpoint."""
        self.spans: list[_Span] = []
        self.recent: deque[_Span] = deque(maxlen=RECENT)
        self.memory_mib = 0.0
        self.validated_step, self.psnr = -1, ""
        self.best: tuple[float, int] | None = None
        self.warned, self.noticed = False, ""
        self.how = ""

    def on_start(self, how: str) -> None:
        """Prints on what and how the run computes, unless a process before it has said the same."""
        if how != self.how:
            self._say(f"trains on {how}")
        self.how = how

    def on_resume(self, step: int, rows: Sequence[Row]) -> None:
        """Prints that the run goes on after `step` steps, and adds the points of before; called before any report."""
        if not self.last:
            self.first = step
            self.bar.initial = self.bar.n = self.bar.last_print_n = step
        self._say(f"goes on from step {step} of {self.steps}, where an earlier run was stopped")
        self._add(rows)

    def on_log(self, row: Row) -> None:
        """Adds a point to the curves, and shows it on the bar or now and then as a line.

        Args:
            row: step; and, where they are known, loss, grad_norm, learning_rate, patches_per_second, data_time and
                step_time in seconds per step (means since the row before), memory_mib (peak so far).
        """
        self._add([row])

    def on_validation(self, step: int, result: Validated) -> None:
        """Adds the figures after `step` steps to the curves, and prints them; step 0: those of the initial weights."""
        if step <= self.validated_step:
            return
        self.validated_step = step
        point = Point(
            step,
            tables={f"psnr_{name}": psnr for name, psnr in result.psnr.items()},
            events={f"psnr/{name}": psnr for name, psnr in result.psnr.items()},
            images={f"samples/{name}": image for name, image in result.samples},
        )
        self.curves.add([point])
        comment = ""
        if math.isfinite(result.score) and (self.best is None or result.score > self.best[0]):
            comment = ", the best so far" if self.best else ""
            self.best = result.score, step
        self.psnr = f"PSNR {result.score:.2f} dB"
        if step > self.first or not self.first:
            sets = [
                f"{name} {psnr:.2f} dB (input {result.degraded[name]:.2f} dB)" for name, psnr in result.psnr.items()
            ]
            self._say(f"validation at step {step}: {', '.join(sets)}{comment}")

    def on_checkpoint(self, step: int) -> None:
        """Notes that the checkpoint after `step` steps is saved."""
        self.kept = max(self.kept, step)

    def on_notice(self, sentence: str) -> None:
        """Prints what the user should know; what several processes tell is printed once."""
        if sentence != self.noticed:
            self.noticed = sentence
            tqdm.write(f"{self.name}: {sentence}", file=sys.stderr)

    def close(self) -> None:
        """Closes curves and bar; prints a summary if this process did any steps."""
        self.bar.close()
        self.curves.close()
        end = max(self.last, self.kept)
        if end <= self.first:
            return
        steps = end - self.first
        told = [f"{steps} step{'s' * (steps > 1)} in {duration(time.perf_counter() - self.start)} including the start"]
        if seconds := sum(span.total for span in self.spans):
            told.append(f"{sum(span.steps for span in self.spans) / seconds:.2f} steps/s")
            told.append(f"data wait {_share(self.spans):.1%} of the step time")
        if self.memory_mib:
            told.append(f"{self.memory_mib:.0f} MiB of memory at most")
        if self.best:
            told.append(f"best validation {self.best[0]:.2f} dB at step {self.best[1]}")
        stopped = f"stopped after step {end} of {self.steps}: " if end < self.steps else ""
        self._say(stopped + ", ".join(told))
        self._warn(_share(self.spans))

    def _add(self, rows: Sequence[Row]) -> None:
        """Adds the points that are new to the curves, and shows those that this process has made."""
        points: list[Point] = []
        for row in rows:
            step = int(row["step"])
            if step <= self.last:
                continue
            steps, self.last = step - self.last, step
            span = _Span(steps, row.get("data_time", 0.0) * steps, row.get("step_time", 0.0) * steps)
            tables, events = ({key: row[key] for key in keys if key in row} for keys in (_TABLES, _EVENTS))
            points.append(Point(step, tables, {**events, "data_share": _share([span])}))
            self.memory_mib = max(self.memory_mib, row.get("memory_mib", 0.0))
            if step > self.first:
                self.spans.append(span)
                self.recent.append(span)
                self._progress(row)
                if len(self.recent) == RECENT:
                    self._warn(_share(self.recent))
        self.curves.add(points)

    def _progress(self, row: Mapping[str, float]) -> None:
        """Moves the bar on a terminal; elsewhere prints a line every LINE_SECONDS."""
        formats = {"loss": "loss {:.4f}", "learning_rate": "lr {:.1e}", "patches_per_second": "{:.0f} patches/s"}
        told = [text.format(row[key]) for key, text in formats.items() if key in row]
        told.append(f"data wait {_share(self.recent):.0%}")
        psnr = [self.psnr] if self.psnr else []
        self.bar.set_postfix_str(", ".join([*told, *psnr]), refresh=False)
        self.bar.update(self.last - self.bar.n)
        now = time.perf_counter()
        if self.bar.disable and now - self.said > LINE_SECONDS:
            self.said = now
            steps = sum(span.steps for span in self.recent)
            left = sum(span.total for span in self.recent) / steps * (self.steps - self.last)
            line = ProgressLine(
                name=self.name, step=self.last, steps=self.steps, told=told, left=duration(left), psnr=self.psnr
            )
            tqdm.write(str(line))
            sys.stdout.flush()

    def _warn(self, share: float) -> None:
        """Warns, once per run, that the processor or GPU has to wait for patches."""
        if share > WARNING_SHARE and not self.warned:
            self.warned = True
            advice = (
                "leave train.group_mib out (with run.memory_mib above the size of the images), or raise "
                "run.loader_workers"
                if self.grouped
                else "they are cut from memory, so give the training more of the processor, or let it be"
            )
            tqdm.write(
                f"{self.name}: {share:.0%} of the step time goes into waiting for patches: {advice}.", file=sys.stderr
            )

    def _say(self, text: str) -> None:
        say(self.name, text)


def say(name: str, text: str) -> None:
    """Prints a line about the run of the experiment `name`, without tearing its bar."""
    tqdm.write(f"{name}: {text}")
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """Formats a duration for people: 45 s, 12 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _share(spans: "deque[_Span] | list[_Span]") -> float:
    """Share of the step time that went into waiting for patches, 0..1."""
    total = sum(span.total for span in spans)
    return sum(span.data for span in spans) / total if total else 0.0
