"""Counter-based random numbers (Philox; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

Every purpose and place in a run has numbers of its own, which are a function of the seed alone: any step can be drawn
without those before it, by any process.
"""

from enum import IntEnum

from numpy.random import Generator, Philox


class Purpose(IntEnum):
    """Purposes of random numbers; in parentheses are the numbers that name a place in the run."""

    PLACE = 0
    """Places and symmetries of the patches of (step)."""
    NOISE = 1
    """Noise of (step, patch)."""
    ORDER = 2
    """Order of the images in (epoch, group, round)."""
    SHARDS = 3
    """Order of the shards in (epoch)."""


def generator(seed: int, purpose: Purpose, *place: int, lane: int = 0) -> Generator:
    """The generator of the random numbers for one purpose at one place in the run.

    Args:
        place: numbers that name the place, at most three, as in the docstring of the purpose.
        lane: number of the lane of the batch, each of which has numbers of its own.
    """
    # The counter's first word counts the numbers drawn.
    return Generator(Philox(key=[seed, purpose + (lane << 8)], counter=[0, *place, *[0] * (3 - len(place))]))
