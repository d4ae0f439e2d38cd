"""Reads the YAML of params.yaml and --set: a key that stands twice is an error, 1e-3 a number, and 025 none."""

import re
from typing import Any

import yaml

_MOST_MERGED = 10_000
"""Keys that `<<` may bring into the sections of a document: a few lines that merge each other could bring billions."""


class _Loader(yaml.SafeLoader):
    """A YAML 1.1 loader that refuses a key that stands twice, and reads numbers as people do."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._merged = 0
        self._flattening: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Puts the keys that are merged by `<<` in front, having counted them."""
        if id(node) in self._flattening:  # it merges itself
            return
        self._flattening.add(id(node))
        for key, value in list(node.value):
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(merged, yaml.MappingNode):
                        self.flatten_mapping(merged)
                        self._merged += len(merged.value)
                        if self._merged > _MOST_MERGED:
                            problem = f"its sections merge more than {_MOST_MERGED} keys"
                            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        super().flatten_mapping(node)
        self._flattening.discard(id(node))


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
# YAML 1.1 takes 025 for 21, 1:30 for 90, and 1e-3, without a dot, for text. The first two are text here, which is
# refused where a number is needed; 1e-3 is a number.
_INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _INT, re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\.\d[\d_]*([eE][-+]?\d+)?|\d+[eE][-+]?\d+)"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
        re.ASCII,
    ),
    list("-+0123456789."),
)
