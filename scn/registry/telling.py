"""What the registry tells besides what it was asked for."""

import sys
from functools import lru_cache

from scn.core.masking import masked


@lru_cache(maxsize=1024)
def tell_once(sentence: str) -> None:
    """Prints a sentence without secrets on the standard error, once in a process: a page lists models all the time."""
    print(masked(sentence), file=sys.stderr)
