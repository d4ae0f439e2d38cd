"""The flows `evaluate` and `self-ensemble`: a published version on any images, without training.

The figures are published with the version (scn.registry.figures), and `scn models show` tells them.
"""

from prefect import flow
from prefect.client.schemas.objects import State

from flows.chain import Run, in_workspace
from flows.page import key, show_table


@flow(name="evaluate")
def evaluate(
    model: str, images: list[str] | None = None, ref: str | None = None, retries: int = 2, timeout_hours: float = 24.0
) -> State[None]:
    """Measures a published version on sets of images, and publishes the figures with it.

    Args:
        model: the version: EXPERIMENT, EXPERIMENT@vN or EXPERIMENT@ALIAS.
        images: corpora or folders; None: the evaluation sets of the experiment.
        ref: branch, tag or commit whose code and params.yaml measure; None: what is checked out.
        retries: number of further attempts if it fails.
        timeout_hours: hours that one attempt may take.
    """
    return _measured("evaluate", [], model, images, ref, retries, timeout_hours)


@flow(name="self-ensemble")
def self_ensemble(
    model: str, images: list[str] | None = None, ref: str | None = None, retries: int = 2, timeout_hours: float = 24.0
) -> State[None]:
    """Measures a published version with the results of the 8 flips and rotations averaged, as `evaluate` does.

    Args:
        model: the version: EXPERIMENT, EXPERIMENT@vN or EXPERIMENT@ALIAS.
        images: corpora or folders; None: the evaluation sets of the experiment.
        ref: branch, tag or commit whose code and params.yaml measure; None: what is checked out.
        retries: number of further attempts if it fails.
        timeout_hours: hours that one attempt may take.
    """
    return _measured("self-ensemble", ["--self-ensemble"], model, images, ref, retries, timeout_hours)


def _measured(
    what: str,
    options: list[str],
    model: str,
    images: list[str] | None,
    ref: str | None,
    retries: int,
    timeout_hours: float,
) -> State[None]:
    experiment = model.partition("@")[0]

    def body(run: Run) -> str:
        sets = images or run.params.experiment(experiment).data.evaluation
        corpora = filter(None, map(run.stage_of_corpus, sets))
        run.stages([stage for target in corpora for stage in run.order(target)])
        words = [word for of_set in images or [] for word in ("--images", of_set)]
        lines = run.command(f"{what} {model}", ["scn", "models", "measure", model, *words, *options, "--json"])
        show_table(lines[-1] if lines else "", key(what, experiment), f"{model}, measured on {', '.join(sets)}")
        return f"{model} is measured on {', '.join(sets)}: `scn models show {model}` tells the figures."

    return in_workspace(f"{what}-{experiment}", ref, [experiment], body, retries=retries, timeout_hours=timeout_hours)
