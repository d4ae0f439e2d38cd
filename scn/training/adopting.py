"""Going on from a run by other code, as `scn train --resume-anyway` does."""

from scn.training.loop import Run
from scn.training.other_runs import Other


def adopt(run: Run, other: Other) -> int:
    """Copies the newest checkpoint of `other` into `run`.

    Returns:
        Number of steps done.
    Raises:
        UserError: if `other` differs in more than the code, or has no checkpoint that can be read.
        StoreError: if the store has failed for too long.
    """
    ((step, state),) = run.checkpoints.of_other(other)
    run.checkpoints.save(step, state, state.get("score"))
    run.checkpoints.wait()
    return step
