"""Makes the work pool, the deployments of prefect.yaml, and the automation that finds dead runs, at a Prefect server.

python -m flows.deployments        in the project's folder; PREFECT_API_URL names the server
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from flows.environment import base_environment
from scn.config.params import PARAMS_FILE, load_params
from scn.core.errors import UserError
from scn.core.pipeline import pipeline_needed

POOL = "scn"
"""Name of the work pool."""
DEAD_SECONDS = 180
"""Seconds without a sign of life after which a flow run counts as crashed: a server that is away for a minute, and then
starts, sees none for up to two."""
AUTOMATION = "scn: a run without a sign of life has crashed"
"""Name of the automation."""
PREFECT = [sys.executable, "-m", "prefect"]
"""The command line of Prefect."""

_EVERY = "EXPERIMENT"
_WRITTEN = "scn_schedules"  # the variable at the server with digests of schedules as prefect.yaml last had them


def expanded(document: dict[str, Any], experiments: list[str]) -> dict[str, Any]:
    """Returns a prefect.yaml in which the deployments named after EXPERIMENT stand once for every experiment."""
    return {**document, "deployments": list(_expanded(document["deployments"], experiments))}


def deploy(project: Path) -> None:
    """Makes pool, deployments and automation at the server that PREFECT_API_URL names.

    What was paused or scheduled otherwise on its page stays so; of a schedule until prefect.yaml says another thing.

    Raises:
        UserError: if prefect.yaml or params.yaml is missing, or Prefect does not answer or refuses something.
    """
    from prefect.variables import Variable

    try:
        document = yaml.safe_load((project / "prefect.yaml").read_text())
    except FileNotFoundError:
        raise UserError(f"{project} has no prefect.yaml: run this in the project's folder.") from None
    experiments = list(load_params(project / PARAMS_FILE).experiments)
    document = expanded(document, experiments)
    written = {_full_name(each): _digest(each) for each in document["deployments"] if "schedules" in each}
    deployments = _as_on_the_page(document["deployments"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump({**document, "deployments": deployments}, sort_keys=False))
        _prefect(project, "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    Variable.set(_WRITTEN, written, overwrite=True)
    _watch_for_dead_runs()


def _expanded(deployments: list[dict[str, Any]], experiments: list[str]) -> Iterator[dict[str, Any]]:
    for deployment in deployments:
        if _EVERY not in deployment["name"]:
            yield deployment
            continue
        for experiment in experiments:
            parameters = {
                key: experiment if value == _EVERY else value for key, value in deployment["parameters"].items()
            }
            yield {**deployment, "name": deployment["name"].replace(_EVERY, experiment), "parameters": parameters}


def _full_name(deployment: dict[str, Any]) -> str:
    """FLOW/NAME: a flow is named after its function."""
    return f"{deployment['entrypoint'].rpartition('.')[2].replace('_', '-')}/{deployment['name']}"


def _digest(deployment: dict[str, Any]) -> str:
    """Tells schedules from others: themselves, they may be more than Prefect takes in a variable, or no JSON."""
    return sha256(yaml.safe_dump(deployment.get("schedules")).encode()).hexdigest()[:12]


def _as_on_the_page(deployments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The deployments, so that deploying them changes no switch of the page; makes the pool.

    Deletes the schedules that prefect.yaml has no more.
    """
    from httpx import HTTPError  # Prefect's client lets its errors through
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
    from prefect.variables import Variable
    from prefect.workers.process import ProcessWorker

    found = []
    pool = WorkPoolCreate(
        name=POOL, type=ProcessWorker.type, base_job_template=ProcessWorker.get_default_base_job_template()
    )
    try:
        before: Any = Variable.get(_WRITTEN, {})
        with get_client(sync_client=True) as client:
            with suppress(ObjectAlreadyExists):  # and stays as it is; another worker may be making it just now
                client.create_work_pool(pool)
            for deployment in deployments:
                made = dict(deployment)
                with suppress(ObjectNotFound):
                    there = client.read_deployment_by_name(_full_name(made))
                    made["paused"] = there.paused
                    if before.get(_full_name(made), _digest({})) == _digest(made):
                        made.pop("schedules", None)  # those at the server stay
                    elif not made.get("schedules"):  # as `prefect deploy` would let them, too
                        for schedule in there.schedules:
                            client.delete_deployment_schedule(there.id, schedule.id)
                found.append(made)
    except (RuntimeError, HTTPError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise UserError(
            f"Prefect's server at {os.environ.get('PREFECT_API_URL')} can't be asked ({reason}): "
            "see if it is up, and if PREFECT_API_AUTH_STRING is its password."
        ) from None
    return found


def _prefect(project: Path, *arguments: str) -> None:
    environment = {**base_environment(), "PWD": str(project), "NO_COLOR": "1"}  # prefect.yaml reads PWD
    done = subprocess.run([*PREFECT, *arguments], cwd=project, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise UserError(f"`prefect {' '.join(arguments)}` failed: see what it printed.")


def _watch_for_dead_runs() -> None:
    """Makes the automation that marks a run as crashed that gives no sign of life, or makes it anew."""
    from prefect.automations import Automation
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *ends},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=DEAD_SECONDS),
    )
    message = (
        f"No sign of life for {DEAD_SECONDS} s: its process was killed, or its machine is gone. "
        "Start it again: a training goes on from its last checkpoint. (If it was this server that was away, the "
        "run goes on, and is shown as completed when it is.)"
    )
    action = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    kind: Any = Automation  # its methods are typed as coroutines, too
    try:
        before = kind.read(name=AUTOMATION)
    except ValueError:
        kind(name=AUTOMATION, trigger=trigger, actions=[action]).create()
    else:
        before.trigger, before.actions = trigger, [action]
        before.update()


def main() -> int:
    """Runs the command line and returns the exit status: 0, or 1 after one sentence on stderr."""
    if not os.environ.get("PREFECT_API_URL"):
        print("flows: PREFECT_API_URL is not set: let it name a Prefect server.", file=sys.stderr)
        return 1
    try:
        deploy(Path.cwd())
    except UserError as error:
        print(f"flows: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with pipeline_needed("flows"):
        sys.exit(main())
