"""Keeps secrets of the environment out of logs, messages and artifacts."""

import os
import re

_NAMES = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|AUTH_STRING|API_KEY|ACCESS_KEY", re.IGNORECASE)
_PAIRS = re.compile(r"AUTH_STRING", re.IGNORECASE)
"""Names of variables that hold `name:password`."""
_FEWEST = 8
"""Letters of a secret: a shorter value may be a word of any message."""
# A password that is not quoted may hold an @: the last one before the host ends it.
_IN_URL = re.compile(r"(?<=://)[^/\s]+(?=@)")
_IN_QUERY = re.compile(
    r"(?<=[?&;])([\w.-]*(?:token|signature|secret|passw(?:or)?d|credential|api[_-]?key|access[_-]?key)[\w.-]*|sig)"
    r"=[^&#\s'\"<>)]+",
    re.IGNORECASE,
)
MASK = "***"


def masked(text: str) -> str:
    """Returns a text without the values of variables whose names tell of a secret, and without secrets in its URLs."""
    values = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _FEWEST}
    pairs = [value for name, value in os.environ.items() if _PAIRS.search(name)]
    values |= {word for value in pairs if len(word := value.partition(":")[2]) >= _FEWEST}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, MASK)
    return _IN_QUERY.sub(rf"\1={MASK}", _IN_URL.sub(MASK, text))
