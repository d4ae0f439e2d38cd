"""The flow `scn`: runs the stages that publish an experiment, each as a Prefect task, in a workspace of its own.

    python -m flows.scn --experiment sr-x2        without a server; PREFECT_API_URL names one to report to

DVC decides which stages there are, in what order, and which of them are up to date; Prefect adds retries, timeouts,
logs, schedules and the web page. A flow runs what is committed. Its results are the published version in the store,
DVC's cache, and a commit on the branch `runs/<experiment>`, whose dvc.lock names all that was made.
"""

import sys
from typing import Any

if __name__ == "__main__":  # before Prefect is imported, so that --help answers at once and settings can be made
    from flows.command import main
    from scn.core.pipeline import pipeline_needed

    def load_flow() -> Any:
        from flows.scn import scn

        return scn

    with pipeline_needed("flows"):
        sys.exit(main(load_flow))

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from flows.chain import in_workspace, publish


@flow(name="scn")
def scn(experiment: str, ref: str | None = None, retries: int = 2, timeout_hours: float = 24.0) -> State[Any]:
    """Trains, measures and publishes one experiment.

    Args:
        experiment: name of an experiment in params.yaml.
        ref: branch, tag or commit to run; None: what is checked out.
        retries: number of further attempts at a stage that failed; a training goes on from its last checkpoint.
        timeout_hours: hours that one attempt at one stage may take.
    """
    body = partial(publish, experiment=experiment)
    return in_workspace(experiment, ref, [experiment], body, retries=retries, timeout_hours=timeout_hours)
