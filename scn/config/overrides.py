"""KEY=VALUE on a command line."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from scn.config.document import load_yaml
from scn.core.errors import UserError

SOURCE = "--set"


def parse(settings: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Keys and values, in order; a value is written as in params.yaml.

    Raises:
        UserError: for what is no KEY=VALUE, and for a key that is set twice.
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
