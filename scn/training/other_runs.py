"""The other unfinished runs of an experiment, and what differs in their identities."""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scn.config.train import TrainConfig
from scn.core.errors import Stopped, UserError
from scn.networks import completed
from scn.storage.base import ObjectNotFound
from scn.storage.lease import Lease
from scn.storage.local import FileStore
from scn.training.checkpoint_files import IDENTITY, LEASE, Name, Place

CODE = "code_sha256"  # the key in an identity


class Other(NamedTuple):
    """An unfinished run of the same experiment with another identity."""

    run_id: str
    step: int
    """Number of steps done in its newest checkpoint."""
    difference: str
    """The keys in which its identity differs from this run's, as text for messages."""
    identity: dict[str, Any] | None
    """Its identity, as it was noted, if that differs in nothing but the hash of the code; otherwise None."""

    @property
    def other_code(self) -> bool:
        """True if its identity differs in nothing but the hash of the code."""
        return self.identity is not None


def others(siblings: Iterable[Place], run_id: str, identity: dict[str, Any]) -> list[Other]:
    """Finds the unfinished runs in `siblings`, without that of `run_id`, the one that was started last first.

    Reads names and identities only; StoreError if a store fails.

    Args:
        siblings: the places in which the folders of an experiment's runs lie.
    """
    steps: dict[str, int] = {}
    about: dict[str, dict[str, Any]] = {}
    for place in siblings:
        for key in place.store.list(place.prefix):
            other, _, file = key.removeprefix(place.prefix).partition("/")
            if other == run_id:
                continue
            if file == IDENTITY:
                with suppress(ObjectNotFound, ValueError):  # deleted since, or damaged
                    about.setdefault(other, dict(json.loads(place.store.get(key))))
            elif name := Name.parse(file):
                steps[other] = max(name.step, steps.get(other, 0))
    order = sorted(steps, key=lambda other: (about.get(other, {}).get("started", ""), steps[other]))
    return [
        Other(other, steps[other], compared(about.get(other, {}), identity), _same(about.get(other, {}), identity))
        for other in reversed(order)
    ]


def remove_ended(folder: Path, there: Place, run_id: str) -> None:
    """Removes from this machine the runs, other than `run_id`, of which the store has nothing any more.

    A run that begins meanwhile has its lease, and keeps its folder. So do those of another store and, if the store
    fails, all; nothing is raised.

    Args:
        folder: on this machine, with the folders of an experiment's runs.
        there: where they lie in the store.
    """
    with suppress(UserError):
        stored = {key.removeprefix(there.prefix).partition("/")[0] for key in there.store.list(there.prefix)}
        for path in folder.glob("*"):
            here = Place(FileStore(folder), f"{path.name}/")
            if path.name in {run_id, *stored} or here.about().get("store") != there.store.url:
                continue
            lease = Lease(there.store, f"{there.prefix}{path.name}/{LEASE}", what=f"The run {path.name}")
            with suppress(Stopped):
                lease.take(lambda sentence: None, lambda: "somebody else has it")
                try:
                    if not there._replace(prefix=f"{there.prefix}{path.name}/").about():  # nor has it begun since
                        here.clear()
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    lease.give_back()


def _same(about: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any] | None:
    """The identity in `about` if it differs from this one in nothing but the hash of the code."""
    theirs = about.get("identity")
    if not isinstance(theirs, dict) or not theirs.get(CODE):
        return None
    return None if any(differences({**theirs, CODE: None}, {**identity, CODE: None})) else theirs


def compared(about: dict[str, Any], identity: dict[str, Any]) -> str:
    """Returns the first differences between the identity in `about` and this one, as text."""
    theirs = about.get("identity")
    if not isinstance(theirs, dict):
        return "its configuration is not known"
    found = list(differences(theirs, identity))
    return "; ".join(found[:3] + [f"and {len(found) - 3} more"] * (len(found) > 3))


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """Yields, as text, every key in which two identities differ, with both values.

    A key that one of them was written without, as it came later, has its default there, which does what was done before
    there was the key.
    """
    yield from _differences(_completed(theirs), _completed(ours))


def _completed(identity: dict[str, Any]) -> dict[str, Any]:
    found = dict(identity)
    if isinstance(architecture := found.get("architecture"), dict):
        found["architecture"] = completed(architecture)
    with suppress(ValueError):  # a recipe with keys that there are no more is like no other
        found["train"] = TrainConfig.model_validate(found.get("train")).model_dump()
    return found


def _differences(theirs: dict[str, Any], ours: dict[str, Any], place: str = "") -> Iterator[str]:
    for key in sorted({*theirs, *ours}):
        a, b = theirs.get(key), ours.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{place}{key}.")
        elif a != b:
            yield f"{place}{key} is {_short(a)} there, {_short(b)} here"


def _short(value: object) -> str:
    text = "null" if value is None else str(value)  # as in params.yaml
    return text if len(text) <= 40 else f"{text[:12]}..."  # a SHA-256
