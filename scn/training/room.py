"""What helps where memory does not suffice for a step of training, or for its weights: sentences for the user."""

import math
import socket

from scn.config.params import Experiment
from scn.training.world import World


def no_room_for_step(experiment: Experiment, world: World) -> str:
    """The sentence for a step whose patches, computed at once, are too many for the memory of a rank's device."""
    train, run = experiment.train, experiment.run
    side, patches = train.patch_size, train.batch_size // ((train.lanes or world.world_size) * run.accumulate)
    if parts := finer(experiment, world.world_size):
        cure = f"set run.accumulate to {parts}, which computes the same batch in smaller parts"
    elif patches > 1:  # with batch normalisation, which takes no parts
        cure = "take a smaller batch or train.patch_size"
    else:
        cure = "lower train.patch_size, or take a smaller network (section model)"
    at_once = f"{patches} patch{'es' * (patches > 1)} of {side}x{side} at once"
    return f"{_place(world)} has no room for a step of {experiment.name}, {at_once}: {cure}."


def no_room_for_weights(experiment: Experiment, world: World) -> str:
    """The sentence for a network whose weights, and what its training keeps for each, are too many."""
    kept = ", its average" if experiment.train.ema_decay else ""
    return (
        f"{_place(world)} has no room for the weights of {experiment.name}{kept} and its optimiser: take a smaller "
        "network (section model), or end other programs there."
    )


def finer(experiment: Experiment, workers: int) -> int | None:
    """The next larger run.accumulate of those that split the batch evenly; None if there is none.

    Args:
        workers: that there are, which may be fewer than run.workers: what params.yaml says has to suit both.
    """
    run, lanes = experiment.run, experiment.train.lanes
    share, over = divmod(experiment.train.batch_size, lanes or math.lcm(workers, run.workers))
    if over or not experiment.model.splits_batches:
        return None
    return next((parts for parts in range(run.accumulate + 1, share + 1) if share % parts == 0), None)


def _place(world: World) -> str:
    """The device of a rank, and where there are several its machine."""
    return str(world.device) + (f" on {socket.gethostname()}" if world.world_size > 1 else "")
