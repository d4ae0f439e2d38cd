"""The flow `retrain`: the flow `scn` for several experiments, some at the same time; one that fails stops no other."""

import contextvars
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.ending import runs_below
from flows.page import name_run
from flows.scn import scn
from flows.stale import stale_experiments
from flows.workspace import find_commit, params_at
from scn.config.params import Params, base_of
from scn.core.errors import UserError, sentence


@flow(name="retrain")
def retrain(
    experiments: list[str] | None = None,
    only_stale: bool = False,
    at_once: int = 1,
    ref: str | None = None,
    retries: int = 2,
    timeout_hours: float = 24.0,
) -> State[Any]:
    """Trains, measures and publishes several experiments; DVC leaves out the stages of each that are up to date.

    Args:
        experiments: names of experiments in params.yaml; None: all.
        only_stale: leaves out experiments that are up to date by the record of their last run, the branch
            runs/EXPERIMENT; they get no flow run at all, and what a remote has missed is pushed.
        at_once: number of experiments at the same time; one whose weights another starts from goes before that.
        ref: branch, tag or commit to run; None: what is checked out.
        retries: number of further attempts at a stage that failed.
        timeout_hours: hours that one attempt at one stage may take.
    """
    log, project = get_run_logger(), Path.cwd()
    left: list[str] = []  # sentences on what is not recorded or pushed
    try:
        commit = find_commit(project, ref)
        params = params_at(project, commit)
        names = [params.experiment(name).name for name in experiments or params.experiments]
        if at_once < 1:
            raise UserError(f"at_once is {at_once}: give 1 or more.")
        name_run(f"retrain-{len(names)}-{commit[:9]}", ["scn", commit[:9]])
        if only_stale:
            names = stale_experiments(project, commit, params, names, log.info, left.append)
            log.info("Stale: %s", ", ".join(names) or "none")
    except (UserError, OSError) as error:
        log.error(sentence(error))
        return Failed(message=sentence(error))

    def one(name: str) -> str:
        # A flow of its own below this one; what is checked out may change, so the commit is named.
        state = scn(name, ref=commit, retries=retries, timeout_hours=timeout_hours, return_state=True)
        if not state.is_completed():
            return state.message or state.name or "it did not end well"
        if told := state.result():
            left.append(str(told))
        return ""

    failed = in_order(names, bases(params, names), one, at_once)
    if failed:
        told = "; ".join(f"{name}: {why}" for name, why in failed.items())
        return Failed(message=" ".join([f"{len(failed)} of {len(names)} failed: {told}", *left]))
    done = f"{', '.join(names)} published." if names else "All experiments are up to date."
    return Completed(message=" ".join([done, *left]))


def bases(params: Params, names: Iterable[str]) -> dict[str, str]:
    """Experiment -> the one of `names` that it starts from."""
    chosen = dict.fromkeys(names)
    found = {name: base_of(params.experiments[name].start_from) for name in chosen}
    return {name: base for name, base in found.items() if base in chosen}


def in_order(names: Iterable[str], after: Mapping[str, str], run: Callable[[str], str], at_once: int) -> dict[str, str]:
    """Runs each of `names`, at most `at_once` at the same time, and after the one that it depends on.

    Args:
        after: name -> the name that must be done before.
        run: runs one, and returns why it failed, or "".
    Returns:
        name -> why it failed or was not run, of those that are not done.
    """
    waiting, failed, done = list(names), dict[str, str](), set[str]()
    running: dict[Future[str], str] = {}
    with ThreadPoolExecutor(at_once) as pool, runs_below():  # in this order: the pool waits for what then ends
        while waiting or running:
            left = len(waiting)
            for name in list(waiting):
                base = after.get(name)
                if base in failed:
                    failed[name] = f"not run, as it starts from {base}, which failed"
                    waiting.remove(name)
                elif (base is None or base in done) and len(running) < at_once:
                    # Prefect finds the flow that another one is below in the context.
                    running[pool.submit(contextvars.copy_context().run, run, name)] = name
                    waiting.remove(name)
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    try:
                        why = future.result()
                    except Exception as error:  # of one experiment: the others go on
                        why = str(error) or repr(error)
                    if why:
                        failed[name] = why
                    done.add(name)
            elif len(waiting) == left:  # nothing is at work that they could wait for
                failed |= {name: f"not run, as it starts from {after[name]}, which has not run" for name in waiting}
                break
    return failed
