"""Reads the settings KEY=VALUE of a command line (--set)."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from scn.config.document import load_yaml
from scn.core.errors import UserError

SOURCE = "--set"
"""Name of the settings in messages."""


def parse(settings: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yields key and value of every setting KEY=VALUE, in order; values are YAML, as in params.yaml.

    Raises:
        UserError: for a setting that is no KEY=VALUE, a value that is no YAML, or a key that is set twice.
    """
    seen = set()
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{SOURCE}: '{setting}' is no KEY=VALUE: write a parameter, '=' and its value.")
        if key in seen:
            raise UserError(f"{SOURCE}: {key} is set twice: leave one out.")
        seen.add(key)
        try:
            value = load_yaml(text)
        except yaml.YAMLError:
            raise UserError(f"{SOURCE}: '{text}' is no value for {key}: write it as in params.yaml.") from None
        yield key, value
