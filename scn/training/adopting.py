"""Going on from a run by other code, as `scn train --resume-anyway` does."""

from collections.abc import Iterator
from typing import Any

import torch

from scn.config.params import Experiment
from scn.core.errors import UserError
from scn.training.arithmetic import Arithmetic
from scn.training.checkpoint import State
from scn.training.learner import Learner
from scn.training.loop import History, Run
from scn.training.other_runs import Other
from scn.training.world import World


def adopt(run: Run, other: Other) -> int:
    """Copies the newest checkpoint of `other` into `run`, and the best one if the recipe takes the best weights.

    They are tried first: a checkpoint that this code can't go on from would stop each later call.

    Returns:
        Number of steps done.
    Raises:
        UserError: if `other` differs in more than the code, has no checkpoint that can be read, or one that does not
            fit this code.
        StoreError: if the store has failed for too long.
    """
    found = run.checkpoints.of_other(other, with_best=run.experiment.train.take_best_every is not None)
    for step, state in found:
        if why := misfit(run.experiment, state):
            raise UserError(
                f"The checkpoint of step {step} of run {other.run_id} does not fit this code ({why}): go on with the "
                "code that made it, or start anew with --no-resume."
            )
    for step, state in found:  # the best one before the newest, from which the run goes on
        run.checkpoints.save(step, state, state.get("score"))
    run.checkpoints.wait()
    return found[-1][0]


def misfit(experiment: Experiment, state: State) -> str:
    """Tries to go on from a checkpoint's state; returns why that fails as a clause, or an empty string."""
    with torch.random.fork_rng(devices=[]):
        learner = Learner(experiment, World())
        tensors = list(_differences(state.get("network"), learner.state()["network"]))
        if tensors:
            return "; ".join(tensors[:3] + [f"and {len(tensors) - 3} more"] * (len(tensors) > 3))
        try:
            learner.load(state)
            History.of(state["history"])
            Arithmetic.of(state)
        except Exception as error:  # of many kinds, by the part that differs
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('.:')}"
    return ""


def _differences(theirs: Any, ours: dict[str, Any]) -> Iterator[str]:
    """Yields, as text, the tensors of a network that have another name, shape or place in the order."""
    theirs = theirs if isinstance(theirs, dict) else {}
    for name in dict.fromkeys([*ours, *theirs]):
        there, here = (tuple(tensors[name].shape) if name in tensors else None for tensors in (theirs, ours))
        if there is None or here is None:
            yield f"{name} is {'missing' if there is None else 'only'} there"
        elif there != here:
            yield f"{name} has the shape {there} there, {here} here"
    if list(theirs) != list(ours) and theirs.keys() == ours.keys():  # the optimiser's numbers go by it
        yield "its tensors come in another order"
