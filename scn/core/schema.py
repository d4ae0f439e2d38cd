"""Strict checks of what users write (params.yaml, parameters of a network), with one sentence for a mistake."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from scn.core.errors import UserError


class Section(BaseModel):
    """Part of a configuration: unknown keys and values of the wrong type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class UnknownNameError(UserError):
    """A key, or one of a few words, that is not known here: misspelt, or of a later version."""


S = TypeVar("S", bound=Section)


def check(
    cls: type[S], raw: Mapping[str, Any], source: object, place: str = "", renamed: Mapping[str, str] | None = None
) -> S:
    """Checks `raw` against the schema `cls` and returns the section.

    Args:
        raw: the section's keys and values.
        source: where `raw` was read, named first in a message: a path, or a few words.
        place: the dotted key of the section in `source`; "" for the top level.
        renamed: key that stands elsewhere -> its dotted key.
    Raises:
        UserError: for the first mistake, with its key; for an unknown key, with the nearest known one, or a text that
            is none of those that the key may have, it is UnknownNameError.
    """
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        # A misspelt key also makes the right one missing: name the misspelling.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        where = [*filter(None, place.split(".")), *map(str, first["loc"])]
        if first["type"] == "extra_forbidden":
            if now := (renamed or {}).get(where[-1]):
                raise UserError(f"{source}: {'.'.join(where)} is called {now} now: rename it.") from None
            known = sorted(_keys_at(cls, first["loc"][:-1]))
            parent = ".".join(where[:-1]) or "the top level"
            raise UnknownNameError(f"{source}: {unknown(where[-1], known, f'key (at {parent})')}.") from None
        message = first["msg"].removeprefix("Value error, ")
        told = ": ".join(filter(None, [".".join(where), message[0].lower() + message[1:]]))
        kind = UnknownNameError if first["type"] == "literal_error" and isinstance(first["input"], str) else UserError
        raise kind(f"{source}: {told}.") from None


def unknown(name: str, known: Iterable[str], kind: str) -> str:
    """Words for a message that `name` is no known `kind`: they suggest the nearest name of `known`, or list all."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'" if near else f"use one of {', '.join(known)}"
    return f"'{name}' is no known {kind}: {hint}"


def _keys_at(cls: type[BaseModel], place: Iterable[int | str]) -> set[str]:
    """The keys that the schema knows at `place` below `cls` (sections inside a mapping of sections included)."""
    for part in place:
        field = cls.model_fields.get(str(part))
        if field is None:  # a name in a mapping of sections: stay with the section's class
            continue
        classes = [c for c in (field.annotation, *get_args(field.annotation)) if isinstance(c, type)]
        cls = next((c for c in classes if issubclass(c, BaseModel)), cls)
    return set(cls.model_fields)
