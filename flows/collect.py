"""The flow `collect`: shows what nobody needs, kept workspaces and what `scn gc` finds, and deletes it when asked."""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from prefect import flow, get_client, get_run_logger, runtime
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import State, StateType
from prefect.states import Completed, Failed

from flows.page import name_run, show_text
from flows.stages import StageFailed, run_command
from flows.workspace import RUNS
from scn.config.params import PARAMS_FILE, load_params
from scn.core.errors import UserError, sentence

DAY = 86400.0


@flow(name="collect")
def collect(delete: bool = False) -> State[None]:
    """Shows workspaces of runs that are over, versions, checkpoints and shards that nobody needs, or deletes them.

    The rules are the sections `registry` and `collect` of params.yaml, as it is in the project's folder.

    Args:
        delete: deletes what is shown; not while another flow run is at work.
    """
    log, project = get_run_logger(), Path.cwd()
    name_run("collect-and-delete" if delete else "collect", ["scn"])
    try:
        params = load_params(project / PARAMS_FILE)
        running = at_work()
        if delete and running:
            raise UserError(f"{len(running)} other flow runs are at work: run this when they are over.")
        kept = old_workspaces(project, running, params.collect.after_days)
        lines = [f"{folder.relative_to(project)}: the workspace of a run that is over" for folder in kept]
        run_command(project, "scn gc", ["scn", "gc", *(["--delete"] if delete else [])], lines.append)
        for line in lines:
            log.info(line)
        if delete:
            for folder in kept:
                shutil.rmtree(folder)
    except (UserError, OSError, StageFailed) as error:
        message = str(error) if isinstance(error, StageFailed) else sentence(error)
        log.error(message)
        return Failed(message=message)
    show_text("collect", "\n".join(f"- {line}" for line in lines), "What nobody needs")
    return Completed(message=f"{len(kept)} workspaces; {lines[-1]}")


def at_work() -> set[UUID]:
    """The flow runs that are at work or about to be, without this one."""
    states = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]
    about = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    with get_client(sync_client=True) as client:
        found = {run.id for run in client.read_flow_runs(flow_run_filter=about)}
    return found - {UUID(str(runtime.flow_run.id))}


def old_workspaces(project: Path, running: Iterable[UUID], after_days: float) -> list[Path]:
    """Returns the kept workspaces, of runs that are over, in which nothing has happened for so many days."""
    alive = tuple(f"-{str(run)[:8]}" for run in running)
    before = time.time() - after_days * DAY
    folders = (folder for folder in sorted((project / RUNS).glob("*")) if folder.is_dir())
    return [folder for folder in folders if not folder.name.endswith(alive) and folder.stat().st_mtime <= before]
