"""How large the terminal is that shows progress."""

import os
import sys
from typing import Any

USUAL = {"ncols": 80, "nrows": 24}
"""Columns and lines of a terminal that does not say how many it has."""


def size() -> dict[str, Any]:
    """The arguments of tqdm for a bar on the standard error whose terminal reports 0 columns or 0 lines.

    Serial lines and some containers have such terminals, on which tqdm shows nothing. Empty: tqdm finds out by itself.
    """
    try:
        reported = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # it is no terminal
        return {}
    return {} if all(reported) else {name: found or USUAL[name] for name, found in zip(USUAL, reported, strict=True)}
