"""Counter-based random numbers (Philox; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

Every purpose and place in a run has numbers of its own, which are a function of the seed alone: any step can be drawn
without those before it, by any process.
"""

from enum import IntEnum

from numpy.random import Generator, Philox


class Purpose(IntEnum):
    """What random numbers are for, and the place in the run that they belong to."""

    PLACE = 0
    """(step): where patches are cut and how they are turned."""
    NOISE = 1
    """(step, patch)."""
    ORDER = 2
    """(epoch, group, round): of the images."""
    SHARDS = 3
    """(epoch): their order."""


def generator(seed: int, purpose: Purpose, *place: int) -> Generator:
    """The random numbers of a place in the run, which up to three numbers name."""
    # The counter's first word counts the numbers drawn.
    return Generator(Philox(key=[seed, purpose], counter=[0, *place, *[0] * (3 - len(place))]))
