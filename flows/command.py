"""The command line of `python -m flows.scn`: runs the flow in this process, with a Prefect API that ends with it."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.environment import HEARTBEAT, QUIET
from flows.workspace import find_commit, params_at
from scn.core.errors import UserError, sentence
from scn.core.pipeline import check_installed


def main(load_flow: Callable[[], Any], arguments: list[str] | None = None) -> int:
    """Runs the flow and returns the exit status: 0 if it completed, otherwise 1, after one sentence on stderr.

    Args:
        load_flow: imports and returns the flow; it is called after Prefect's settings are made.
        arguments: words of the command line; None: those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m flows.scn",
        description="Train, measure and publish an experiment: the stages of dvc.yaml as a Prefect flow, in a clone "
        "of the project. Needs no server; PREFECT_API_URL names one to report to.",
    )
    parser.add_argument("--experiment", "-e", required=True, help="name of an experiment in params.yaml")
    parser.add_argument("--ref", help="branch, tag or commit to run (default: what is checked out)")
    parser.add_argument("--retries", type=int, default=2, help="further attempts at a stage that failed (default: 2)")
    parser.add_argument(
        "--timeout-hours", type=float, default=24.0, help="hours that one attempt at one stage may take (default: 24)"
    )
    options = parser.parse_args(arguments)
    check_installed("prefect")
    try:
        # The flow checks this too; here, a mistake is told before an API is started.
        project = Path.cwd()
        params_at(project, find_commit(project, options.ref)).experiment(options.experiment)
        home = project / ".scn" / "prefect" / "local"
        home.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError) as error:
        print(f"flows: {sentence(error)}", file=sys.stderr)
        return 1

    # Prefect reads its settings when it is imported. Its database is the project's, not the one in the home folder.
    os.environ.update({**HEARTBEAT, **os.environ, **QUIET})
    os.environ.setdefault("PREFECT_HOME", str(home))
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    try:
        state = load_flow()(**vars(options), return_state=True)
    except RuntimeError as error:
        if "Failed to reach API" not in str(error):
            raise
        print(
            f"flows: No Prefect server answers at {get_current_settings().api.url}: start it with `make prefect-up`, "
            "or run `unset PREFECT_API_URL` to do without one.",
            file=sys.stderr,
        )
        return 1
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 401:
            raise
        print(
            f"flows: The Prefect server at {get_current_settings().api.url} asks for a password: set "
            "PREFECT_API_AUTH_STRING as `make prefect-up` prints it, or run `unset PREFECT_API_URL` to do without one.",
            file=sys.stderr,
        )
        return 1
    print(f"flows: {state.message}", file=sys.stderr)
    return 0 if state.is_completed() else 1
