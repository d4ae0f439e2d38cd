"""Shared by the tests of checkpoints: states, a store that fails, and what is found where."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.core.errors import UserError
from scn.storage.base import Store, StoreError
from scn.storage.local import FileStore
from scn.training.checkpoint import Checkpoints
from scn.training.checkpoint_files import Name, Place

IDENTITY = {"task": "sr", "level": 2, "train": {"batch_size": 16, "learning_rate": 0.002, "late_loss": None}}

Machine = Callable[..., Checkpoints]


class UnsteadyStore(FileStore):
    """A store whose operation `fails` fails `failures` times; puts of checkpoints wait for `gate` and are recorded."""

    def __init__(self, folder: Path, fails: str = "put", failures: float = 0) -> None:
        super().__init__(folder)
        self.fails, self.failures = fails, failures
        self.reached, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.steps: list[int] = []

    def put(self, key: str, data: bytes | memoryview, **options: Any) -> bool:
        self._maybe_fail("put")
        if name := Name.parse(key.rpartition("/")[2]):
            self.reached.set()
            assert self.gate.wait(60)
            self.steps.append(name.step)
        return super().put(key, data, **options)

    def list(self, prefix: str = "") -> list[str]:
        self._maybe_fail("list")
        return super().list(prefix)

    def _maybe_fail(self, operation: str) -> None:
        if self.fails == operation and self.failures > 0:
            self.failures -= 1
            self.reached.set()
            raise StoreError(f"No answer from the service in {operation}: start it.")


def state(step: int, numbers: int = 1000) -> dict[str, Any]:
    return {"network": {"weight": torch.full((numbers,), float(step))}, "rows": [{"step": step, "loss": 0.5}]}


def assert_found(found: tuple[int, dict[str, Any]] | None, step: int) -> None:
    assert found is not None
    assert found[0] == step
    assert torch.equal(found[1]["network"]["weight"], torch.full((1000,), float(step)))
    assert found[1]["rows"] == [{"step": step, "loss": 0.5}]


def save_all(checkpoints: Checkpoints, *steps: int, scores: tuple[float | None, ...] = ()) -> None:
    for number, step in enumerate(steps):
        checkpoints.save(step, state(step), *scores[number : number + 1])
        checkpoints.wait()


def names(place: Place | Path) -> list[Name]:
    if isinstance(place, Place):
        return sorted(place.names())
    return sorted(name for file in place.iterdir() if (name := Name.parse(file.name)))


def steps_here(checkpoints: Checkpoints) -> list[int]:
    return [name.step for name in names(checkpoints.folder)]


def steps_stored(checkpoints: Checkpoints, store: Store) -> list[int]:
    return [name.step for name in names(Place(store, f"runs/sr-x2/{checkpoints.run_id}/"))]


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert ". " not in message
    return message
