"""Reads the YAML of params.yaml and --set, where a key that stands twice is an error and 1e-3 is a number."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A YAML 1.1 loader that refuses a key that stands twice and reads 1e-3 as a number."""


class DuplicateKeyError(yaml.YAMLError):
    """A key stands twice in a section; the message names the key and both lines."""


def load_yaml(text: str) -> Any:
    """Reads a YAML document.

    Raises:
        yaml.YAMLError: if it is no YAML, or a key stands twice in a section.
    """
    return yaml.load(text, _Loader)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)  # puts keys merged by `<<` in front; a key of the section's own may repeat those
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.start_mark.index >= node.start_mark.index:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise DuplicateKeyError(
                    f"'{key.value}' stands twice in a section, in lines {seen[key.value]} and {line}"
                )
            seen[key.value] = line
    return loader.construct_mapping(node)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 asks for a dot and a sign in front of the exponent: without them 1e-3 would be text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+"), list("-+0123456789.")
)
