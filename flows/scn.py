"""The flow `scn`: runs the stages that publish an experiment, each as a Prefect task, in a workspace of its own.

    python -m flows.scn --experiment sr-x2        without a server; PREFECT_API_URL names one to report to

DVC decides which stages there are, in what order, and which of them are up to date; Prefect adds retries, timeouts,
logs, schedules and the web page. A flow runs what is committed. Its results are the published version in the store, and
DVC's cache: `dvc repro publish@E` in the project then only checks the files out.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before Prefect is imported, so that --help answers at once and settings can be made
    from flows.command import main

    def load_flow() -> Any:
        from flows.scn import scn

        return scn

    sys.exit(main(load_flow))

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.stages import StageFailed, run_stage, stages_of
from flows.workspace import RUNS, find_commit, make_workspace, params_at, uncommitted
from scn.core.errors import UserError

RETRY_DELAYS = [10.0, 60.0, 300.0]
"""Seconds before the first retry of a stage, before the second, and before each later one."""


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE, retry_delay_seconds=RETRY_DELAYS)
def stage_task(workspace: Path, stage: str) -> State[Any]:
    """Runs one stage of DVC in `workspace`; its output goes to the task run's log."""
    log = get_run_logger()
    try:
        run_stage(workspace, stage, log.info)
    except StageFailed as error:
        log.error("The last lines of %s:\n%s", stage, "\n".join(error.tail))
        return Failed(message=str(error))  # is retried as an exception is, but logs no traceback
    return Completed(message=f"{stage} is up to date")


@flow(name="scn")
def scn(experiment: str, ref: str | None = None, retries: int = 2, timeout_hours: float = 24.0) -> State[Any]:
    """Trains, measures and publishes one experiment.

    Args:
        experiment: name of an experiment in params.yaml.
        ref: branch, tag or commit to run; None: what is checked out.
        retries: number of further attempts at a stage that failed; a training goes on from its last checkpoint.
        timeout_hours: hours that one attempt at one stage may take.
    """
    log = get_run_logger()
    project = Path.cwd()
    folder = project / RUNS / f"{experiment}-{str(runtime.flow_run.id)[:8]}"
    try:
        commit = find_commit(project, ref)
        params = params_at(project, commit)
        params.experiment(experiment)
        if ref is None and (changed := uncommitted(project)):
            log.warning("Not part of this run, because they are not committed: %s", ", ".join(changed))
        make_workspace(project, commit, params, folder)
    except UserError as error:
        log.error(str(error))
        return Failed(message=str(error))

    place = folder.relative_to(project)
    kept = f"the workspace is kept in {place}"
    try:
        stages = stages_of(folder, f"publish@{experiment}")
    except UserError as error:
        log.error("%s (%s)", error, kept)
        return Failed(message=str(error))
    log.info("Commit %s in %s, in this order: %s", commit[:9], place, ", ".join(stages))
    run = stage_task.with_options(retries=retries, timeout_seconds=timeout_hours * 3600)
    for stage in stages:
        state: State[Any] = run(folder, stage, return_state=True)
        if not state.is_completed():
            reason = f"Stage {stage} took longer than {timeout_hours:g} hours: raise timeout_hours or make it shorter"
            message = reason if state.name == "TimedOut" else state.message
            log.error("%s (%s)", message, kept)
            return Failed(message=message)
    shutil.rmtree(folder)
    return Completed(message=f"{experiment} is published: `dvc repro publish@{experiment}` brings its files here.")
