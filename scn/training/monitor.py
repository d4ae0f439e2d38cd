"""What one sees of a training run: its curves, a progress bar or a line now and then, a summary."""

import sys
import time
from pathlib import Path

from dvclive import Live
from tqdm import tqdm

from scn.training.loop import Row, Run

LINE_SECONDS = 20.0
"""Where there is no terminal, a run prints a line this often."""


class Monitor:
    """Shows a run that happens here or elsewhere; curves go to `folder`/plots/metrics/*.tsv.

    The curves are written anew from a checkpoint's points on resuming, so they have no gap and no overlap.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self.name, self.steps = run.experiment.name, run.steps
        self.live = Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
        self.bar = tqdm(total=run.steps, unit="step", desc=self.name, disable=not sys.stderr.isatty())
        self.start = self.said = time.perf_counter()
        self.first = self.last = 0
        self.data_seconds = self.step_seconds = 0.0

    def resumed(self, step: int) -> None:
        self.first = step
        print(f"{self.name}: goes on from step {step} of {self.steps}, where an earlier run was stopped", flush=True)

    def logged(self, row: Row) -> None:
        step = int(row["step"])
        if step <= self.last:  # said again by a worker that was restarted
            return
        self.live.step = step
        for key in ("loss", "learning_rate", "data_time", "step_time"):
            self.live.log_metric(key, row[key])
        self.data_seconds += row["data_time"] * (step - self.last)
        self.step_seconds += row["step_time"] * (step - self.last)
        self.bar.set_postfix(loss=f"{row['loss']:.4f}", lr=f"{row['learning_rate']:.1e}", refresh=False)
        self.bar.update(step - self.last)
        now = time.perf_counter()
        if self.bar.disable and step > self.first and now - self.said > LINE_SECONDS:
            left = self.step_seconds / step * (self.steps - step)
            loss = f"loss {row['loss']:.4f}"
            print(f"{self.name}: step {step} of {self.steps}, {loss}, about {left:.0f} s left", flush=True)
            self.said = now
        self.last = step

    def close(self) -> None:
        """Ends the curves and the bar; prints the summary of a run that was completed."""
        self.bar.close()
        self.live.end()
        if self.last < self.steps:
            return
        seconds = time.perf_counter() - self.start
        share = self.data_seconds / self.step_seconds
        print(f"{self.name}: {self.steps - self.first} steps in {seconds:.0f} s, data {share:.1%} of the step time")
        if share > 0.1:
            print(
                f"{self.name}: more than 10 % of the step time goes into making patches: raise train.workers.",
                file=sys.stderr,
            )
