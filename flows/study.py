"""The flow `study`: a comparison of networks as a paper's table, which goes on where it was stopped."""

import shutil

from prefect import flow
from prefect.client.schemas.objects import State

from flows.chain import Run, in_workspace
from flows.page import key, show_text

FILES = ("result.json", "README.md", "plot.svg")
"""What a study ends in; git keeps it."""


@flow(name="study")
def study(
    name: str,
    experiment: str,
    minutes: float | None = None,
    ref: str | None = None,
    retries: int = 2,
    timeout_hours: float = 72.0,
) -> State[None]:
    """Trains and measures all variants of a study; its table and plot are committed to the branch `runs/study-NAME`.

    It goes on in `.scn/studies/NAME@EXPERIMENT`, which is to be removed to begin anew: with other images, say.

    Args:
        name: a study that ships: see `scn study`.
        experiment: name of the experiment in params.yaml whose images are used.
        minutes: that all trainings together take; None: as the study was begun, or 30.
        ref: branch, tag or commit to run; None: what is checked out.
        retries: number of further attempts at what failed; what is finished is not made again.
        timeout_hours: hours that one attempt may take.
    """

    def body(run: Run) -> str:
        run.stages(run.order(f"shard@{experiment}"))
        kept = run.project / ".scn" / "studies" / f"{name}@{experiment}"  # outlives the workspace: it goes on there
        words = ["--minutes", f"{minutes:g}"] if minutes is not None else []
        command = ["scn", "study", name, "--experiment", experiment, "--out", str(kept), *words]
        run.command(f"study {name}", command)
        files = [f"studies/{name}/{file}" for file in FILES]
        (run.folder / "studies" / name).mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copyfile(kept / file, run.folder / "studies" / name / file)
        show_text(key("study", name), (kept / "README.md").read_text(), f"What the study {name} has found")
        branch = f"runs/study-{name}"
        if run.keep(branch, [], f"study {name} of {run.commit[:9]}", files):
            return f"The study is done: `git show {branch}:studies/{name}/README.md` shows its table."
        return f"The study is done: its table is {(kept / 'README.md').relative_to(run.project)}."

    return in_workspace(f"study-{name}", ref, [experiment], body, retries=retries, timeout_hours=timeout_hours)
