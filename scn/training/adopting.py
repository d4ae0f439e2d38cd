"""Going on from a run by other code, as `scn train --resume-anyway` does."""

from scn.training.loop import Run
from scn.training.other_runs import Other


def adopt(run: Run, other: Other) -> int:
    """Copies the newest checkpoint of `other` into `run`, and the best one if the recipe takes the best weights.

    Returns:
        Number of steps done.
    Raises:
        UserError: if `other` differs in more than the code, or has no checkpoint that can be read.
        StoreError: if the store has failed for too long.
    """
    found = run.checkpoints.of_other(other, with_best=run.experiment.train.take_best_every is not None)
    for step, state in found:  # the best one before the newest, from which the run goes on
        run.checkpoints.save(step, state, state.get("score"))
    run.checkpoints.wait()
    return found[-1][0]
