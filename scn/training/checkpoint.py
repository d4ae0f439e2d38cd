"""Checkpoints of a run in progress: runs/<experiment>/<run id>/step-<step>-<hash>.pt in the store."""

import hashlib
import io
import re
from dataclasses import dataclass
from typing import Any

import torch

from scn.errors import UserError
from scn.storage import Store

KEEP = 2
_NAME = re.compile(r"step-(\d{8})-([0-9a-f]{16})\.pt$")


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one run.

    Their names hold their hash, so one that was cut short is seen and the one before it is taken.
    """

    store: Store
    experiment: str
    run_id: str

    @property
    def prefix(self) -> str:
        return f"runs/{self.experiment}/{self.run_id}/"

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Stores the state after `step` steps and deletes all but the newest two."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        self.store.put(f"{self.prefix}step-{step:08d}-{hashlib.sha256(data).hexdigest()[:16]}.pt", data)
        for key in self._keys()[:-KEEP]:
            self.store.delete(key)

    def load(self, identity: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """The newest undamaged checkpoint as (steps done, state), or None.

        Raises:
            UserError: if it was made by a run of another configuration; says what differs.
        """
        for key in reversed(self._keys()):
            match = _NAME.search(key)
            data = self.store.get(key)
            if match is None or hashlib.sha256(data).hexdigest()[:16] != match[2]:
                continue
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if state["identity"] != identity:
                raise UserError(
                    f"The checkpoint {key} in {self.store.url} is of another configuration "
                    f"({_difference(state['identity'], identity)}): delete it to start anew."
                )
            return int(match[1]), state
        return None

    def delete(self) -> None:
        """Deletes every checkpoint of the run, once its result is kept elsewhere."""
        for key in self._keys():
            self.store.delete(key)

    def _keys(self) -> list[str]:
        return [key for key in self.store.list(self.prefix) if _NAME.search(key)]


def _difference(theirs: dict[str, Any], ours: dict[str, Any], place: str = "") -> str:
    """The first key in which two configurations differ, with both values."""
    for key in sorted({*theirs, *ours}):
        a, b = theirs.get(key), ours.get(key)
        if isinstance(a, dict) and isinstance(b, dict) and a != b:
            return _difference(a, b, f"{place}{key}.")
        if a != b:
            return f"{place}{key} is {a} there, {b} here"
    return "nothing"
