"""The files of a run's checkpoints in one store, and what their names tell."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from scn.storage.base import ObjectNotFound, Store

IDENTITY = "identity.json"
_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})(?:-(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?))?\.pt")


class Name(NamedTuple):
    """Of a checkpoint: step-<step>-<hash>.pt, or step-<step>-<hash>-<score>.pt after a validation."""

    step: int
    hash: str
    """The first 16 digits of the SHA-256 of the content."""
    score: float | None

    @classmethod
    def of(cls, step: int, data: bytes, score: float | None) -> "Name":
        return cls(step, hashlib.sha256(data).hexdigest()[:16], score)

    @classmethod
    def parse(cls, name: str) -> "Name | None":
        match = _NAME.fullmatch(name)
        return match and cls(int(match[1]), match[2], float(match[3]) if match[3] else None)

    def __str__(self) -> str:
        score = "" if self.score is None else f"-{self.score!r}"
        return f"step-{self.step:08d}-{self.hash}{score}.pt"


class Place(NamedTuple):
    """The checkpoints of a run in one store, under `prefix`; every method raises StoreError when the store fails."""

    store: Store
    prefix: str

    def names(self) -> set[Name]:
        parsed = (Name.parse(key.removeprefix(self.prefix)) for key in self.store.list(self.prefix))
        return {name for name in parsed if name}

    def read(self, name: Name) -> bytes | None:
        """None if it is not there or damaged."""
        try:
            data = self.store.get(f"{self.prefix}{name}")
        except ObjectNotFound:
            return None
        return data if Name.of(name.step, data, name.score) == name else None

    def write(self, name: Name, data: bytes) -> None:
        self.store.put(f"{self.prefix}{name}", data, names_content=True)

    def note(self, identity: dict[str, Any]) -> None:
        """Leaves the identity of the run, for other runs to read; once."""
        key = f"{self.prefix}{IDENTITY}"
        if not self.store.exists(key):
            about = {"started": datetime.now(UTC).isoformat(), "identity": identity}
            self.store.put(key, json.dumps(about).encode())

    def prune(self, newest: Name, keep: int) -> None:
        """Deletes all but the last `keep` and the best of those that led to `newest`."""
        names = self.names()
        valid = until(newest, names)
        for name in names - {*last(valid)[:keep], *best(valid)[:1]}:
            self.store.delete(f"{self.prefix}{name}")

    def clear(self) -> None:
        for key in self.store.list(self.prefix):  # the last step last: a kill in between costs no step
            self.store.delete(key)


def until(newest: Name, names: Iterable[Name]) -> set[Name]:
    """Without those of later steps: they were passed over as damaged when the run went on towards `newest`."""
    return {name for name in names if name.step < newest.step or name == newest}


def last(names: Iterable[Name]) -> list[Name]:
    """By step, the last one first."""
    return sorted(names, key=lambda name: (name.step, name.hash), reverse=True)


def best(names: Iterable[Name]) -> list[Name]:
    """Those with a score, the highest first; of equal ones the earlier."""
    scored = [(name, name.score) for name in names if name.score is not None]
    return [name for name, _ in sorted(scored, key=lambda pair: (-pair[1], pair[0].step, pair[0].hash))]


def differences(theirs: dict[str, Any], ours: dict[str, Any], place: str = "") -> Iterator[str]:
    """The keys in which two identities differ, with both values."""
    for key in sorted({*theirs, *ours}):
        a, b = theirs.get(key), ours.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{place}{key}.")
        elif a != b:
            yield f"{place}{key} is {_short(a)} there, {_short(b)} here"


def _short(value: object) -> str:
    text = "null" if value is None else str(value)  # as in params.yaml
    return text if len(text) <= 40 else f"{text[:12]}..."  # a SHA-256
