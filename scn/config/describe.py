"""The texts that `scn networks` and `scn profile` print; imports no PyTorch."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scn.config.overrides import SOURCE, parse
from scn.core.errors import UserError
from scn.core.schema import unknown
from scn.networks import NETWORKS, Network, network_config

WIDTH = 100
"""Most characters in a printed line."""

_TYPES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
}


def describe(name: str | None = None) -> str:
    """Describes networks: title, source, licence, and parameters with their defaults and allowed values.

    Args:
        name: the one network to describe, with its parameters explained; None: all networks, without.
    Raises:
        UserError: if there is no such network.
    """
    if name is None:
        return "\n\n".join("\n".join(_lines(network, explain=False)) for network in NETWORKS.values())
    if name not in NETWORKS:
        raise UserError(f"{unknown(name, NETWORKS, 'network')}.")
    return "\n".join(_lines(NETWORKS[name], explain=True))


def architecture(name: str, settings: Iterable[str]) -> dict[str, Any]:
    """The complete architecture of a network, as scn.networks.build.build takes it.

    Args:
        name: the network.
        settings: KEY=VALUE for parameters of the network, `channels` or `scale`; the paper's values if left out.
    Raises:
        UserError: for an unknown network or key, a key that is set twice, or a value out of its range.
    """
    network_config({"name": name}, "--model")
    known = [*(key for key in NETWORKS[name].config.model_fields if key != "name"), "channels", "scale"]
    parameters: dict[str, Any] = {}
    for key, value in parse(settings):
        if key == "name":
            raise UserError(f"{SOURCE}: a network is not chosen by its parameters: name it with --model.")
        if key not in known:
            raise UserError(f"{SOURCE}: {unknown(key, known, f'parameter of {name}')}.")
        parameters[key] = value
    given: dict[str, Any] = {key: parameters.pop(key) for key in ("channels", "scale") if key in parameters}
    config = network_config({**parameters, "name": name}, SOURCE)
    try:
        config.check_new()
    except ValueError as error:
        raise UserError(f"{SOURCE}: {error}.") from None
    network = NETWORKS[name]
    return {**config.model_dump(), "channels": network.channels, "scale": network.scale, **given}


def size(text: str) -> tuple[int, int]:
    """Reads a size HEIGHTxWIDTH as (height, width) in pixels. Raises UserError for any other text."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if not match:
        raise UserError(f"'{text}' is no size of an image: write HEIGHTxWIDTH in pixels, as 128x128.")
    return int(match[1]), int(match[2])


def profile_text(profile: Mapping[str, Any]) -> str:
    """Formats the figures that `scn profile --json` prints as lines of text."""
    height, width = profile["input"]
    field = profile["receptive_field"]
    parameters = ", ".join(f"{key}={_value(value)}" for key, value in profile["architecture"].items() if key != "name")
    lines = {
        "parameters": f"{profile['params']:,}, folded {profile['params_folded']:,}",
        "multiply-adds": f"{_amount(profile['macs'])} for one image of {height}x{width} pixels (height x width)",
        "receptive field": "the whole image" if field is None else f"{field}x{field} pixels",
        "activations": f"{_memory(profile['activation_bytes'])} at most at once in inference, float32",
        "kept in training": f"{_memory(profile['training_bytes'])} per image for the backward, float32",
    }
    rows = [row for name, text in lines.items() for row in _wrapped(f"  {name:<18}", text)]
    return "\n".join([*_wrapped("", f"{profile['model']}: {parameters}"), *rows])


def _amount(number: int) -> str:
    if number >= 10**18:
        return f"{number:.2e}"
    for unit, size in (("P", 10**15), ("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def _memory(number: int) -> str:
    for unit, size in (("PiB", 2**50), ("TiB", 2**40), ("GiB", 2**30)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 2**20:.1f} MiB"


def _lines(network: Network, *, explain: bool) -> Iterator[str]:
    yield f"{network.name}: {network.title}"
    yield from _wrapped("  paper    ", f"{network.paper}; section {network.section}")
    yield from _wrapped("  licence  ", network.licence)
    images = "grey" if network.channels == 1 else "RGB"
    yield f"  images   {images}, scale {network.scale} (channels: {network.channels}) in the paper's figures"
    properties = network.config.model_json_schema()["properties"]
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
    """The values that a property of a JSON schema allows, in words."""
    if "anyOf" in schema:
        return "; or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(_value, schema["enum"]))
    if "const" in schema:
        return _value(schema["const"])
    bounds = [words.format(schema[key]) for key, words in _BOUNDS.items() if key in schema]
    return ", ".join([_TYPES.get(schema.get("type", ""), "any value"), *bounds])


def _value(value: object) -> str:
    """A value as params.yaml has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _explanation(network: Network, name: str) -> str:
    """The docstring of a parameter, inherited from a base class where the class changes only the default."""
    for cls in network.config.__mro__:
        field = getattr(cls, "model_fields", {}).get(name)
        if field is not None and field.description:
            return " ".join(field.description.split())
    return ""
