"""From minutes to a number of steps: each variant's start and a few of its steps are timed."""

import statistics
import time
from collections.abc import Mapping
from contextlib import closing

from scn.config.params import Params
from scn.core.errors import UserError
from scn.data import open_feed
from scn.data.cache import cache_folder
from scn.launch.world import plain_world
from scn.shards.manifest import training_manifest
from scn.studies.records import Timing
from scn.training.arithmetic import Arithmetic, fixed_threads
from scn.training.learner import Learner, deterministic

WARM = 2
"""Number of first steps that are not timed."""
LEAST, MOST = 5, 40
"""Least and largest number of steps that are timed."""
ENOUGH = 4.0
"""Seconds of timed steps after which no more are timed than LEAST."""


def time_training(params: Params, name: str) -> Timing:
    """Times the start and some steps of an experiment in this process, and keeps nothing of them.

    Raises:
        UserError: if a shard is missing, an image is smaller than a patch, or memory does not suffice for a step.
    """
    experiment, manifest = params.experiment(name), training_manifest(params, name)
    store = params.open_store(name)
    seconds: list[float] = []
    with (
        plain_world(experiment) as world,
        deterministic(world.device, experiment.run.deterministic),
        Arithmetic(threads=fixed_threads(experiment) or world.threads, compiled=False).in_force(),
    ):
        begin = time.perf_counter()
        learner = Learner(experiment, world, compiled=experiment.run.compile is True)
        with closing(open_feed(store, manifest, experiment, world.device, cache=cache_folder(params.root))) as feed:
            feed.prepare(0)
            start = time.perf_counter() - begin
            while len(seconds) < WARM + LEAST or (sum(seconds[WARM:]) < ENOUGH and len(seconds) < WARM + MOST):
                before = time.perf_counter()
                # Of step 0 alone: a training of one step has no other
                learner.step(feed.batch(0), experiment.train.loss, experiment.train.learning_rate)
                seconds.append(time.perf_counter() - before)
    return Timing(start=round(start, 4), step=round(statistics.median(seconds[WARM:]), 6))


def steps_within(minutes: float, timings: Mapping[str, Timing], shares: Mapping[str, float], seeds: int) -> int:
    """The largest number of steps with which all trainings together, one after the other, take `minutes`.

    Args:
        timings: of every variant.
        shares: variant -> its number of steps relative to the study's.
        seeds: number of trainings of each variant.
    Raises:
        UserError: if the minutes don't hold a single step.
    """
    start = seeds * sum(timing.start for timing in timings.values())
    step = seeds * sum(timings[name].step * share for name, share in shares.items())
    steps = int((60 * minutes - start) / step)
    if steps < 1:
        least = f"{(start + step) / 60:.2g}"
        raise UserError(
            f"--minutes: {len(timings)} variants with {seeds} seeds each don't do a step in {minutes:g} minutes: they "
            f"take {least} for one; give more minutes or fewer seeds, or name the steps with --steps."
        )
    return steps
