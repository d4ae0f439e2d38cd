"""What all flows do: a workspace at a commit, stages as tasks with retries and timeouts, results, and the end."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import get_run_logger, runtime, states, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.ending import Cancelled, Ending, TookTooLong
from flows.lock import mend_lock
from flows.page import Progress, name_run, show_failure, show_results
from flows.results import branch_of, push_outputs, record
from flows.stages import TAIL, StageFailed, alone, run_command, run_stage, stages_of
from flows.unrecorded import forget, remember, remembered
from flows.workspace import RUNS, find_commit, make_workspace, params_at, uncommitted
from scn.config.params import Params
from scn.core.errors import UserError

RETRY_DELAYS = [10.0, 60.0, 300.0]
"""Seconds before the first retry of a stage, before the second, and before each later one."""
_LOOK_SECONDS = 0.5


class NotDone(Exception):  # noqa: N818 - a finding: the flow that catches it fails with its message
    """A stage of a run failed or took too long; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A flow run and its workspace, a clone of the project."""

    project: Path
    folder: Path
    commit: str
    params: Params
    retries: int
    """Further attempts at a stage that failed."""
    timeout_hours: float
    """Hours that one attempt at one stage may take."""
    unrecorded: dict[str, str] = field(default_factory=dict)
    """Branch of runs that what was made is not committed to -> why."""
    unpushed: list[str] = field(default_factory=list)
    """Sentences on remotes that did not take what was made."""

    @property
    def place(self) -> Path:
        """The workspace's folder, relative to the project."""
        return self.folder.relative_to(self.project)

    def order(self, target: str) -> list[str]:
        """The stages that a target of DVC needs, in DVC's order.

        Raises:
            UserError: if there is no such target, or another version of DVC wrote dvc.lock.
        """
        if mended := mend_lock(self.folder):  # `dvc dag` reads it, too: it is as the commit has it
            get_run_logger().warning(mended)
        return stages_of(self.folder, target)

    def stage_of_corpus(self, reference: str) -> str:
        """The stage that brings a corpus, NAME or NAME/SPLIT; "" if it is none of params.yaml, as a folder."""
        name = reference.partition("/")[0]
        corpora = self.params.corpora
        return f"download@{name}" if name in corpora.download else f"index@{name}" if name in corpora.local else ""

    def stages(self, stages: Sequence[str]) -> list[str]:
        """Runs stages of DVC in this order, each as a task and once; returns them. Raises NotDone if one fails."""
        once = list(dict.fromkeys(stages))
        get_run_logger().info("Commit %s in %s, in this order: %s", self.commit[:9], self.place, ", ".join(once))
        for stage in once:
            self._task(stage, None)
        return once

    def command(self, name: str, command: list[str]) -> list[str]:
        """Runs a command in the workspace as a task, and returns its lines. Raises NotDone if it fails."""
        return self._task(name, command)

    def keep(self, branch: str, stages: Sequence[str], message: str, files: Sequence[str] = ()) -> bool:
        """Commits what stages made, and `files` of the workspace, to a branch of runs; False if that fails.

        The run goes on then: what was made is in the store and in DVC's cache. Its end tells what is not recorded.
        """
        log = get_run_logger()
        try:
            remember(self.folder, self.commit, branch, stages, message, files)  # afterwards there may be no room
            made = record(self.project, self.folder, self.commit, branch, stages, message, self._not_pushed, files)
        except (UserError, OSError) as error:
            log.warning("%s", error)
            self.unrecorded[branch] = str(error)
            return False
        log.info("What this run made is recorded in %s, commit %s", branch, made[:9])
        with suppress(UserError):  # what is committed twice is committed once
            forget(self.folder)
        return True

    def told_unrecorded(self) -> str:
        """The sentence on what is not recorded and how to make up for it; "" if all is."""
        if not self.unrecorded:
            return ""
        reasons = "; ".join(dict.fromkeys(reason.removesuffix(".") for reason in self.unrecorded.values()))
        told = f"What was made is not recorded in {', '.join(self.unrecorded)} ({reasons}): mend that, and"
        if not self.unrecorded.keys() <= remembered(self.folder):  # no room for that either
            return f"{told} run it again, which makes nothing twice."
        return (
            f"{told} `python -m flows.unrecorded {self.place}` commits it out of the workspace, which is kept; or run "
            "it again, which makes nothing twice."
        )

    def push(self, stages: Sequence[str]) -> None:
        """Runs `dvc push` for what stages made, where DVC has a remote; the run's end tells a failure."""
        push_outputs(self.folder, stages, get_run_logger().info, self._not_pushed)

    def _not_pushed(self, sentence: str) -> None:
        get_run_logger().warning("%s", sentence)
        self.unpushed.append(sentence)

    def _task(self, name: str, command: list[str] | None) -> list[str]:
        run = stage_task.with_options(retries=self.retries)
        state: State[Any] = run(self.project, self.folder, name, command, self.timeout_hours, return_state=True)
        if state.is_completed():
            return list(state.result())
        if state.is_cancelled():
            raise Cancelled(state.message or f"Stage {name} is cancelled")
        raise NotDone(state.message or f"Stage {name} ended as {state.name}")


@task(name="stage", task_run_name="{name}", cache_policy=NO_CACHE)
def stage_task(
    project: Path, workspace: Path, name: str, command: list[str] | None, timeout_hours: float
) -> State[Any]:
    """Runs one stage of DVC in `workspace`, or a command; its output goes to the task run's log."""
    log, progress, lines = get_run_logger(), Progress(), list[str]()
    by_hand = alone(workspace.relative_to(project), name, command)

    def line_written(line: str) -> None:
        log.info(line)
        lines.append(line)
        progress.line_written(line)

    try:
        _pause(runtime.task_run.run_count - 1, log.info)
        going_on = Ending(timeout_hours)
        if command is None:
            if mended := mend_lock(workspace):  # an earlier attempt was killed
                log.warning(mended)
            run_stage(workspace, name, line_written, going_on)
        else:
            run_command(workspace, name, command, line_written, going_on)
    except StageFailed as error:
        log.error("The last lines of %s:\n%s\nAlone: %s", name, "\n".join(error.tail), by_hand)
        show_failure(name, str(error), error.tail, by_hand)
        return Failed(message=f"{error} (alone: {by_hand})")  # is retried as an exception is, but logs no traceback
    except TookTooLong as error:
        message = f"Stage {name} {error}: raise timeout_hours or make it shorter"
        show_failure(name, message, lines[-TAIL:], by_hand)
        return Failed(name="TimedOut", message=message)
    except Cancelled as error:
        return states.Cancelled(message=f"{error}: stage {name} was ended; started again, the run goes on from there")
    progress.done()
    return Completed(message=f"{name} is up to date", data=lines if command else [])


def _pause(retry: int, told: Callable[[str], None]) -> None:
    """Waits before a retry, 1 for the first; raises Cancelled if the run is cancelled meanwhile.

    Prefect's own pause between attempts would notice that only at its end.
    """
    seconds = RETRY_DELAYS[min(retry, len(RETRY_DELAYS)) - 1] if retry else 0.0
    if not seconds:
        return
    told(f"Tries again in {seconds:g} s")
    going_on, end = Ending(1.0), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        going_on()
        time.sleep(min(_LOOK_SECONDS, left))


def in_workspace(
    what: str,
    ref: str | None,
    experiments: Sequence[str],
    body: Callable[[Run], str],
    *,
    retries: int,
    timeout_hours: float,
) -> State[Any]:
    """Runs `body` in a workspace of its own, and returns the state that the flow ends in.

    The flow run is named after `what` and the commit. The workspace is removed if all went well and is recorded; a
    completed state's result is the sentences on what is not recorded or pushed, or "".

    Args:
        ref: branch, tag or commit; None: what is checked out.
        experiments: names in params.yaml, for the run's tags; an unknown one ends the run.
        body: does the work; returns the sentence that the run ends with.
    """
    log = get_run_logger()
    project = Path.cwd()
    folder = project / RUNS / f"{what}-{str(runtime.flow_run.id)[:8]}"
    try:
        commit = find_commit(project, ref)
        params = params_at(project, commit)
        known = [params.experiment(name) for name in experiments]
        tasks = {experiment.task_name for experiment in known}
        name_run(f"{what}-{commit[:9]}", ["scn", *sorted({*experiments, *tasks}), commit[:9]])
        if ref is None and (changed := uncommitted(project)):
            log.warning("Not part of this run, because they are not committed: %s", ", ".join(changed))
        make_workspace(project, commit, params, folder)
    except (UserError, OSError) as error:
        message = _told(error, folder.relative_to(project))
        log.error(message)
        return Failed(message=message)
    run = Run(
        project=project,
        folder=folder,
        commit=commit,
        params=params,
        retries=retries,
        timeout_hours=timeout_hours,
    )
    try:
        message = body(run)
    except (UserError, NotDone, OSError) as error:
        message = _told(error, run.place)
        log.error("%s (the workspace is kept in %s)", message, run.place)
        return Failed(message=message)
    except Cancelled as error:
        log.warning("%s (the workspace is kept in %s)", error, run.place)
        return states.Cancelled(message=str(error))
    if not run.unrecorded:
        shutil.rmtree(folder)
    left = " ".join(filter(None, [run.told_unrecorded(), *run.unpushed]))
    return Completed(message=f"{message} {left}".rstrip(), data=left)


def _told(error: Exception, place: Path) -> str:
    """The sentence on what ended a run in the workspace `place`: a full disk, say, names no place and no cure."""
    if isinstance(error, OSError):
        return f"The run can't go on in {place} ({error}): make room there or mend that, and start it again."
    return str(error)


def publish(run: Run, experiment: str) -> str:
    """Runs the stages that publish an experiment, shows what they made, and records it; returns a sentence."""
    stages = run.stages(run.order(f"publish@{experiment}"))
    found = show_results(run.folder, experiment)
    sentence = found.sentence if found else experiment
    run.keep(branch_of(experiment), stages, f"{experiment} of {run.commit[:9]}\n\n{sentence}\n")
    run.push(stages)
    return f"{experiment} is published: `dvc repro publish@{experiment}` brings its files here."
