"""Keeps secrets of the environment out of logs, messages and artifacts."""

import os
import re

_NAMES = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|AUTH_STRING|API_KEY|ACCESS_KEY", re.IGNORECASE)
_FEWEST = 8
"""Letters of a secret: a shorter value may be a word of any message."""
_IN_URL = re.compile(r"(?<=://)[^/\s@]+(?=@)")
MASK = "***"


def masked(text: str) -> str:
    """Returns a text without the values of variables whose names tell of a secret, and without who logs in by a URL."""
    values = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _FEWEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, MASK)
    return _IN_URL.sub(MASK, text)
