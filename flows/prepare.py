"""The flow `prepare`: corpora to shards, of some experiments or all, so that trainings find them ready."""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.chain import Run, in_workspace
from flows.page import show_shards
from flows.results import branch_of


@flow(name="prepare")
def prepare(
    experiments: list[str] | None = None, ref: str | None = None, retries: int = 2, timeout_hours: float = 24.0
) -> State[None]:
    """Downloads corpora and writes the shards of experiments.

    Args:
        experiments: names of experiments in params.yaml; None: all.
        ref: branch, tag or commit to run; None: what is checked out.
        retries: number of further attempts at a stage that failed.
        timeout_hours: hours that one attempt at one stage may take.
    """

    def body(run: Run) -> str:
        names = experiments or list(run.params.experiments)
        stages = {name: run.order(f"shard@{name}") for name in names}
        made = run.stages([stage for of_experiment in stages.values() for stage in of_experiment])
        show_shards(run.folder, names)
        for name, of_experiment in stages.items():
            run.keep(branch_of(name), of_experiment, f"shards of {name} of {run.commit[:9]}")
        run.push(made)
        return f"The shards of {', '.join(names)} are in the store."

    what = f"prepare-{'-'.join(experiments or ['all'])}"
    return in_workspace(what, ref, experiments or [], body, retries=retries, timeout_hours=timeout_hours)
