"""Names that point to a version: `latest`, and aliases such as `production`; each moves by compare-and-swap.

    registry/<experiment>/latest.json
    registry/<experiment>/aliases/<alias>.json     {"version": "v2", "held": "", "history": [...]}

The history of a pointer's moves lies in the same object, so that neither is ever without the other.
"""

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from scn.core.errors import UserError
from scn.core.who import user
from scn.inference.records import Record
from scn.registry.manifest import sha256
from scn.registry.signing import Signature, signature, signing_key
from scn.storage.base import Store, StoreError

LATEST = "latest"
"""The name that stands for the version that serves where none is named."""
_ATTEMPTS = 100
_VERSION = re.compile(r"v[1-9]\d*")
_NAME = re.compile(r"(?!v\d+$)[a-z][a-z0-9-]{0,31}")


class Move(Record):
    """One move of a pointer."""

    version: str
    """The version that it pointed to from then on."""
    at: str
    """Time of the move by the mover's clock, in ISO 8601."""
    by: str
    """Who moved it: USER@HOST."""
    why: str
    """What it was moved by, and the reason that was given."""


class Pointer(Record):
    """What a name points to."""

    version: str
    """The version, such as "v3"."""
    held: str = ""
    """Why a publish must not move it: it was rolled back or pinned; "" if a publish may."""
    history: tuple[Move, ...] = Field(default=(), strict=False)
    """All moves, the last one last; empty if the pointer is one of an early version of the project."""

    signature: Signature | None = None
    """Who vouches for it, where the mover has a key (scn.registry.trust)."""

    def moved(self, version: str, why: str, *, held: str = "") -> "Pointer":
        """Returns the pointer after a move to `version`."""
        move = Move(
            version=version,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=f"{user()}@{socket.gethostname()}",
            why=why,
        )
        return Pointer(version=version, held=held, history=(*self.history, move))

    def before(self, numbers: Sequence[int]) -> str:
        """The version that it came from when it first came to where it is, which a rollback leads to; "" if none is.

        Args:
            numbers: of the versions that exist, ascending; others are passed over.
        """
        exist = {f"v{number}" for number in numbers}
        history = [move.version for move in self.history]
        first = history.index(self.version) if self.version in history else 0
        earlier = [version for version in history[:first] if version in exist and version != self.version]
        if not earlier:
            earlier = [f"v{number}" for number in numbers if number < int(self.version[1:])]
        return earlier[-1] if earlier else ""


NOTHING = Pointer(version="")
"""A name that points to nothing yet."""


def can_be_alias(name: str) -> bool:
    """True if `name` can be an alias: lower-case letters, digits and '-', not `latest` and no version."""
    return name != LATEST and _NAME.fullmatch(name) is not None


def pointer_key(experiment: str, name: str) -> str:
    """The key of a pointer in a store. Raises UserError if `name` can't be the name of one."""
    if name == LATEST:
        return f"registry/{experiment}/latest.json"
    if not can_be_alias(name):
        raise UserError(f"'{name}' can't be an alias: use lower-case letters, digits and '-', and no vN.")
    return f"registry/{experiment}/aliases/{name}.json"


def statement(experiment: str, name: str, pointer: Pointer) -> bytes:
    """What a signature of a pointer is over: whose it is, and all that it holds."""
    content = pointer.model_copy(update={"signature": None}).dumps()
    return f"scn pointer 1\n{experiment}\n{name}\n{sha256(content)}\n".encode()


def read(store: Store, experiment: str, name: str) -> Pointer | None:
    """What a name points to; None if there is no such pointer. Raises UserError if its file is damaged."""
    return _parsed(store.read_pointer(pointer_key(experiment, name))[0], experiment, name)


def move(store: Store, experiment: str, name: str, decide: Callable[[Pointer], Pointer | None]) -> Pointer:
    """Moves a pointer, whoever else moves it meanwhile.

    Args:
        decide: is called with the pointer (NOTHING if there is none), again after each move of another process;
            returns where it should point, or None if it should stay.
    Returns:
        What the name points to now.
    Raises:
        UserError: if its file is damaged, or others move it all the time.
    """
    key = pointer_key(experiment, name)
    for _ in range(_ATTEMPTS):
        data, token = store.read_pointer(key)
        present = _parsed(data, experiment, name) or NOTHING
        if (wanted := decide(present)) is None:
            return present
        if not _VERSION.fullmatch(wanted.version):
            raise ValueError(f"{wanted.version!r} is no version")
        if own := signing_key():
            wanted = wanted.model_copy(update={"signature": signature(own, statement(experiment, name, wanted))})
        if store.swap_pointer(key, wanted.dumps(), token):
            return wanted
    raise StoreError(
        f"{store.url}/{key} could not be moved, as it changed {_ATTEMPTS} times meanwhile: see who else publishes "
        "there (`scn store check` tells whether the service keeps its promises)."
    )


def aliases(keys: Iterable[str], experiment: str) -> list[str]:
    """The names of the pointers among the keys of a store, `latest` not among them, sorted."""
    pattern = re.compile(rf"registry/{re.escape(experiment)}/aliases/({_NAME.pattern})\.json")
    return sorted(found[1] for found in map(pattern.fullmatch, keys) if found and can_be_alias(found[1]))


def _parsed(data: bytes | None, experiment: str, name: str) -> Pointer | None:
    if data is None:
        return None
    key = pointer_key(experiment, name)
    pointer = Pointer.loads(data, Path(key), "delete it in the store, and move it again with `scn models promote`")
    if not _VERSION.fullmatch(pointer.version):
        raise UserError(f"{key} in the store names no version: delete it, and move it again with `scn models promote`.")
    return pointer
