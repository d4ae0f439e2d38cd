"""The table of networks in words, for `scn networks`. No PyTorch here."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from scn.errors import UserError
from scn.networks import NETWORKS
from scn.networks.base import Network
from scn.schema import unknown

WIDTH = 100
"""Columns of the terminal."""

_TYPES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
}


def describe(name: str | None = None) -> str:
    """Every network: title, source, licence, parameters with their defaults and allowed values.

    Args:
        name: of one network, whose parameters are explained too.
    Raises:
        UserError: if there is no such network.
    """
    if name is None:
        return "\n\n".join("\n".join(_lines(network, explain=False)) for network in NETWORKS.values())
    if name not in NETWORKS:
        raise UserError(f"{unknown(name, NETWORKS, 'network')}.")
    return "\n".join(_lines(NETWORKS[name], explain=True))


def _lines(network: Network, *, explain: bool) -> Iterator[str]:
    yield f"{network.name}: {network.title}"
    yield from _wrapped("  paper    ", f"{network.paper}; section {network.section}")
    yield from _wrapped("  licence  ", network.licence)
    images = "grey" if network.channels == 1 else "RGB"
    yield f"  images   {images}, scale {network.scale} (channels: {network.channels}) in the paper's figures"
    properties = network.parameters.model_json_schema()["properties"]
    names = [name for name in properties if name != "name"]
    width = max(map(len, names))
    for name in names:
        start = f"    {name:<{width}}  "
        yield from _wrapped(start, f"{_value(properties[name]['default'])}  ({_allowed(properties[name])})")
        if explain:
            yield from _wrapped(" " * len(start), _explanation(network, name))


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a property of a JSON schema may be, in words."""
    if "anyOf" in schema:
        return "; or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(_value, schema["enum"]))
    if "const" in schema:
        return _value(schema["const"])
    bounds = [words.format(schema[key]) for key, words in _BOUNDS.items() if key in schema]
    return ", ".join([_TYPES.get(schema.get("type", ""), "any value"), *bounds])


def _value(value: object) -> str:
    """As params.yaml has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _explanation(network: Network, name: str) -> str:
    """The docstring of a parameter; a class that changes only its default has it from the class above."""
    for cls in network.parameters.__mro__:
        field = getattr(cls, "model_fields", {}).get(name)
        if field is not None and field.description:
            return " ".join(field.description.split())
    return ""
