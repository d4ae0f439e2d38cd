"""What a name may be trusted to point to, where params.yaml's `registry.trusted` names keys.

Who can write to the store but has no key could point `latest` to an older version, which is signed, too. So every move
of a pointer is signed. An older state of the pointer is signed as well: it is refused where a newer one was seen or
made, which each project's folder remembers in .scn/cache/pointers.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from scn.config.params import Params
from scn.core.errors import UserError, sentence
from scn.core.files import write_atomically
from scn.registry.pointers import LATEST, NOTHING, Pointer, aliases, move, read, statement
from scn.registry.signing import KEY, check, public_key, signing_key
from scn.registry.telling import tell_once
from scn.storage.base import Store, StoreError

SEEN = Path(".scn/cache/pointers")
"""Folder of the pointers as they were last seen, relative to the project's."""


def may_move(params: Params) -> str:
    """Why a pointer that this process moves would not be trusted, as a clause; "" if it would."""
    key = signing_key()
    if not params.registry.trusted or (key and public_key(key) in params.registry.trusted):
        return ""
    return f"registry.trusted names whose moves count, and {KEY} names the key of none of them"


def read_trusted(store: Store, experiment: str, name: str, params: Params) -> Pointer | None:
    """Returns what a name points to, and notes it; without trusted keys nothing is checked.

    Raises:
        UserError: if nobody who is trusted has signed it, or a newer state of it was seen here.
    """
    seen = _seen(experiment, name, params)  # before the pointer is read, which other processes move and note, too
    pointer = read(store, experiment, name)
    _check(pointer or NOTHING, seen, experiment, name, params)
    if pointer:
        _note(pointer, experiment, name, params)
    return pointer


def pointers(store: Store, experiment: str, params: Params) -> dict[str, Pointer]:
    """Returns every name of an experiment's versions, `latest` first -> what it points to.

    One that is damaged or not trusted is left out, which is told once: it must not hide the others.
    """
    found = {}
    for name in (LATEST, *aliases(store.list(f"registry/{experiment}/aliases/"), experiment)):
        try:
            found[name] = read_trusted(store, experiment, name, params)
        except StoreError:
            raise
        except UserError as error:
            tell_once(str(error))
    return {name: pointer for name, pointer in found.items() if pointer}


def move_and_note(
    store: Store, experiment: str, name: str, decide: Callable[[Pointer], Pointer | None], params: Params
) -> Pointer:
    """Moves a name as scn.registry.pointers.move, and notes where it points to; returns that.

    What can't be noted is told, and no error: others follow the move already.
    """
    pointer = move(store, experiment, name, decide)
    try:
        _note(pointer, experiment, name, params)
    except (OSError, UserError) as error:
        what = f"{experiment}@{name} points to {pointer.version}, which could not be noted here"
        print(f"{what}: {sentence(error)}", file=sys.stderr)
    return pointer


def _note(pointer: Pointer, experiment: str, name: str, params: Params) -> None:
    """Notes a pointer, as it was read or has been moved here, if it can be trusted."""
    is_new = params.registry.trusted and pointer not in (NOTHING, _seen(experiment, name, params))
    if is_new and standing(pointer, experiment, name, params)[1]:
        write_atomically(_file(experiment, name, params), pointer.dumps())


def _check(pointer: Pointer, seen: Pointer, experiment: str, name: str, params: Params) -> None:
    if not params.registry.trusted:
        return
    what = f"What {experiment}@{name} points to in {params.storage.url}"
    if pointer != NOTHING and pointer.signature is None:
        raise UserError(
            f"{what} is not signed, and registry.trusted names who must have: name a version, as "
            f"{experiment}@{pointer.version}, or move it with `scn models promote`."
        )
    if pointer.signature is not None:
        wrong = "it was changed by somebody without the key; find out who can write there"
        check(pointer.signature, statement(experiment, name, pointer), params.registry.trusted, what, wrong)
    if pointer.history[: len(seen.history)] != seen.history:
        raise UserError(
            f"{what} is older than what was seen here before ({seen.version}, moved at {seen.history[-1].at}): find "
            "out who can write there, and move it with `scn models promote`; if it was begun anew, delete "
            f"{_file(experiment, name, params)}."
        )


def was_seen(experiment: str, params: Params) -> bool:
    """True if a signed name of an experiment's versions was seen here: what is published can't have been nothing."""
    return bool(params.registry.trusted) and any((params.root / SEEN / experiment).glob("*.json"))


def standing(found: Pointer, experiment: str, name: str, params: Params) -> tuple[Pointer, bool]:
    """Returns the pointer that the next move is to go on from, and whether `found` can be trusted.

    One that can't is repaired by moving it: that goes on from what was seen here before, if anything was.
    """
    seen = _seen(experiment, name, params)
    try:
        _check(found, seen, experiment, name, params)
    except UserError:
        return (found if seen == NOTHING else seen), False
    return found, True


def _file(experiment: str, name: str, params: Params) -> Path:
    return params.root / SEEN / experiment / f"{name}.json"


def _seen(experiment: str, name: str, params: Params) -> Pointer:
    path = _file(experiment, name, params)
    return Pointer.loads(path.read_bytes(), path, "delete it") if path.is_file() else NOTHING
