"""SIGKILL at random moments of the whole pipeline, each time followed by a plain re-run."""

import random
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psutil

from benchmarks.faults.event import Event, outcome_of
from benchmarks.faults.project import MEND, STAGES, Project, full_name, last_sentence
from benchmarks.faults.running import LIMIT_S, Running

PART = "kills"
SECOND_SEED = 1000


class Timeline(NamedTuple):
    """When the stages of an undisturbed run began."""

    begins: dict[str, float]
    """Stage -> seconds since the start."""
    seconds: float
    """Seconds that all took."""

    def stage_at(self, moment: float) -> tuple[str, float]:
        """The stage that runs at a moment, and the seconds since it began; before the first one: since the start."""
        begun = {stage: at for stage, at in self.begins.items() if at <= moment}
        if not begun:
            return "", moment
        stage = max(begun, key=lambda name: begun[name])
        return stage, moment - begun[stage]


def undisturbed(project: Project) -> tuple[Timeline, Mapping[str, str | bytes]]:
    """Runs the pipeline twice without a fault: at once, and stage by stage, keeping the project before each stage.

    Returns:
        When the stages began in the first run, and the results, which must be the same both times.
    Raises:
        RuntimeError: if they are not, or a run failed.
    """
    project.keep("before-")
    running = Running(project)
    status = running.end()
    began = {stage: _line_of(stage) for stage in STAGES}
    begins = {
        stage: next((line.at for line in running.lines if words in line.text), -1.0) for stage, words in began.items()
    }
    timeline = Timeline(begins, running.lines[-1].at if running.lines else 0.0)
    if status or min(begins.values()) < 0:
        raise RuntimeError(f"The undisturbed run failed:\n{running.printed}")
    results = project.results()
    project.restore("before-")
    for stage in STAGES:
        project.keep(f"before-{stage}")
        project.here.run("dvc", "repro", "--single-item", full_name(stage))
    project.keep("whole")
    if wrong := project.faults(results):
        raise RuntimeError(f"Two undisturbed runs differ: {wrong}")
    return timeline, results


def kills(project: Project, times: int, seed: int, label: str) -> Iterator[Event]:
    """Kills `times` times at a moment drawn over the duration of an undisturbed run, all processes or one of them.

    Args:
        label: how the project runs, for the table.
    """
    timeline, results = undisturbed(project)
    print(f"{label}: an undisturbed run takes {timeline.seconds:.1f} s; seed {seed}", flush=True)
    chance = random.Random(seed)
    for number in range(times):
        moment, everyone = chance.uniform(0, timeline.seconds), chance.random() < 0.5
        stage, after = timeline.stage_at(moment)
        project.restore(f"before-{stage}")
        yield _kill(project, results, label, stage, after, everyone, random.Random(SECOND_SEED * seed + number))


def _kill(
    project: Project,
    results: Mapping[str, str | bytes],
    label: str,
    stage: str,
    after: float,
    everyone: bool,
    chance: random.Random,
) -> Event:
    running = Running(project)
    if stage:
        running.wait_for(_line_of(stage))
    time.sleep(after)
    family = running.family()
    victims = family if everyone else [chance.choice(family)] if family else []
    name = "" if everyone or not victims else _name(victims[0])
    met = running.kill(victims)
    who = (name or f"all {len(met)}") if met else "nobody: it had ended"
    status = running.end(LIMIT_S)
    about = {
        "part": PART,
        "fault": f"{label}, {'all processes' if everyone else 'one process'}",
        "stage": stage or "start",
        "note": f"{after:.2f} s after its begin: {who}",
    }
    return finish(project, results, about, status, family, dealt=bool(met))


def finish(
    project: Project,
    results: Mapping[str, str | bytes],
    about: dict[str, Any],
    status: int | None,
    left: list[psutil.Process],
    *,
    dealt: bool = True,
) -> Event:
    """Runs the pipeline again after a fault, and compares what came of it.

    Args:
        about: the properties of the event but its outcome.
        status: exit status of the command that was disturbed; None: it hung.
        left: processes that may still run; a re-run that fails may ask the user to wait for their end.
        dealt: False if no fault met the command.
    """
    wrong = [f"the command hung for {LIMIT_S:g} s"] if status is None else []
    mended = project.here.run(*MEND).stderr.strip()
    if mended:
        about["note"] += f"; {mended}"
    again = Running(project)
    ended = again.end()
    if ended:
        sentence = last_sentence(again.printed)
        about["note"] += f"; the first re-run said: {sentence}"
        psutil.wait_procs(left, timeout=LIMIT_S)
        again = Running(project)
        ended = again.end()
    if ended != 0:
        wrong.append(f"the re-run ended with {ended}: {last_sentence(again.printed)}")
    wrong += project.faults(results)
    if wrong:
        about["note"] += "; " + "; ".join(wrong)
    return Event(**about, outcome=outcome_of(wrong, status, dealt))


def _line_of(stage: str) -> str:
    return f"Running stage '{full_name(stage)}'"


def _name(process: psutil.Process) -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return "one that has just ended"
    names = [word.rpartition("/")[2] for word in words[:4] if not word.startswith("-")]
    return " ".join(names)[:60] or "?"
