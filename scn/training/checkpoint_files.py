"""Names of checkpoint files, and the checkpoints of one run in one place."""

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from scn.storage.base import ObjectNotFound, Store

IDENTITY = "identity.json"
LEASE = "lease.json"
_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{16})(?:-(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?))?\.pt")


class Name(NamedTuple):
    """Name of a checkpoint file: step-<step>-<hash>.pt, or step-<step>-<hash>-<score>.pt after a validation."""

    step: int
    """Number of steps done."""
    hash: str
    """The first 16 hex digits of the SHA-256 of the file's content."""
    score: float | None
    """The validation's score, higher is better; None without one."""

    @classmethod
    def of(cls, step: int, data: bytes, score: float | None) -> "Name":
        """Returns the name of a checkpoint whose content is `data`."""
        return cls(step, hashlib.sha256(data).hexdigest()[:16], score)

    @classmethod
    def parse(cls, name: str) -> "Name | None":
        """Parses a file name; None if it is not that of a checkpoint."""
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
        """Returns the names of all checkpoints, damaged ones among them."""
        parsed = (Name.parse(key.removeprefix(self.prefix)) for key in self.store.list(self.prefix))
        return {name for name in parsed if name}

    def read(self, name: Name) -> bytes | None:
        """Returns the content of a checkpoint, or None if it is missing or damaged."""
        try:
            data = self.store.get(f"{self.prefix}{name}")
        except ObjectNotFound:
            return None
        return data if Name.of(name.step, data, name.score) == name else None

    def write(self, name: Name, data: bytes) -> None:
        self.store.put(f"{self.prefix}{name}", data, names_content=True)

    def about(self) -> dict[str, Any]:
        """Returns what `note` has stored; an empty dict if it is missing or damaged."""
        with suppress(ObjectNotFound, ValueError):
            return dict(json.loads(self.store.get(f"{self.prefix}{IDENTITY}")))
        return {}

    def note(self, identity: dict[str, Any], generation: str, url: str) -> None:
        """Stores the run's identity, for other runs to read, generation and store's URL, unless it is there already."""
        if not self.about():
            about = {"started": datetime.now(UTC).isoformat(), "generation": generation, "store": url}
            self.store.put(
                f"{self.prefix}{IDENTITY}", json.dumps({**about, "identity": identity}).encode(), names_content=True
            )

    def prune(self, newest: Name, keep: int) -> None:
        """Deletes all checkpoints but the last `keep`, counted back from `newest`, and the best up to there."""
        names = self.names()
        valid = until(newest, names)
        for name in names - {*last(valid)[:keep], *best(valid)[:1]}:
            self.store.delete(f"{self.prefix}{name}")

    def clear(self) -> None:
        """Deletes the run's checkpoints, the newest first, then its identity: after a kill the run ends as before.

        What is left trains on to the same weights; without its best checkpoint it would end with worse ones.
        """
        steps = [f"{self.prefix}{name}" for name in last(self.names())]
        kept = {f"{self.prefix}{file}" for file in (IDENTITY, LEASE)}
        others = set(self.store.list(self.prefix)) - kept - set(steps)
        for key in [*steps, *others, f"{self.prefix}{IDENTITY}"]:
            self.store.delete(key)


def until(newest: Name, names: Iterable[Name]) -> set[Name]:
    """Returns `newest` and all of earlier steps; later ones were damaged, and skipped when the run was resumed."""
    return {name for name in names if name.step < newest.step or name == newest}


def last(names: Iterable[Name]) -> list[Name]:
    """Sorts checkpoints by step, the last one first."""
    return sorted(names, key=lambda name: (name.step, name.hash), reverse=True)


def best(names: Iterable[Name]) -> list[Name]:
    """Returns the checkpoints that have a score, the highest first; of equal scores the earlier step first."""
    scored = [(name, name.score) for name in names if name.score is not None]
    return [name for name, _ in sorted(scored, key=lambda pair: (-pair[1], pair[0].step, pair[0].hash))]
