"""Makes the work pool, the deployments of prefect.yaml, and the automation that finds dead runs, at a Prefect server.

python -m flows.deployments        in the project's folder; PREFECT_API_URL names the server
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from flows.environment import base_environment
from scn.config.params import PARAMS_FILE, load_params
from scn.core.errors import UserError
from scn.core.pipeline import check_installed, pipeline_needed

POOL = "scn"
"""Name of the work pool."""
DEAD_SECONDS = 180
"""Seconds without a sign of life after which a flow run counts as crashed: a server that is away for a minute, and then
starts, sees none for up to two."""
AUTOMATION = "scn: a run without a sign of life has crashed"
"""Name of the automation."""

_EVERY = "EXPERIMENT"
_PREFECT = [sys.executable, "-m", "prefect"]


def expanded(document: dict[str, Any], experiments: list[str]) -> dict[str, Any]:
    """Returns a prefect.yaml in which the deployments named after EXPERIMENT stand once for every experiment."""
    return {**document, "deployments": list(_expanded(document["deployments"], experiments))}


def deploy(project: Path) -> None:
    """Makes pool, deployments and automation at the server that PREFECT_API_URL names.

    Raises:
        UserError: if prefect.yaml or params.yaml is missing, or Prefect refuses something.
    """
    check_installed("prefect")
    try:
        document = yaml.safe_load((project / "prefect.yaml").read_text())
    except FileNotFoundError:
        raise UserError(f"{project} has no prefect.yaml: run this in the project's folder.") from None
    experiments = list(load_params(project / PARAMS_FILE).experiments)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(expanded(document, experiments), sort_keys=False))
        _prefect(project, "work-pool", "create", POOL, "--type", "process", "--overwrite")
        _prefect(project, "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
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


def _prefect(project: Path, *arguments: str) -> None:
    environment = {**base_environment(), "PWD": str(project), "NO_COLOR": "1"}  # prefect.yaml reads PWD
    done = subprocess.run([*_PREFECT, *arguments], cwd=project, env=environment, stdin=subprocess.DEVNULL)
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
