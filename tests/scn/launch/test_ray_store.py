"""Ray Train's own few files: a store that is away is waited for before workers start again, and told if it stays so."""

from types import SimpleNamespace
from typing import Any

import pytest

from scn.core.errors import Stopped
from scn.launch.ray_group import Group
from scn.launch.ray_train import _wait_for_store
from scn.storage.base import StoreError
from scn.storage.patience import Patience


def run_with(failures: int, seconds: float) -> Any:
    """A run whose store fails so many times."""
    left, asked = iter(range(failures)), list[bool]()

    def check(*, write: bool) -> None:
        assert not write  # a node may have no right to
        asked.append(write)
        if next(left, None) is not None:
            raise StoreError("No answer from s3://bucket: start the service.")

    store = SimpleNamespace(check=check, asked=asked, url="s3://bucket")
    return SimpleNamespace(experiment=SimpleNamespace(name="sr-x2"), store=store, patience=Patience(store.url, seconds))


def test_workers_start_again_when_the_store_answers() -> None:
    run = run_with(3, 60)
    _wait_for_store(run, lambda: "")
    assert len(run.store.asked) == 4


def test_a_store_that_stays_away_ends_the_run_and_a_signal_the_wait() -> None:
    with pytest.raises(StoreError, match="No answer from s3://bucket"):
        _wait_for_store(run_with(1000, 0.2), lambda: "")
    with pytest.raises(Stopped, match=r"sr-x2: stopped \(SIGTERM\); the same command goes on"):
        _wait_for_store(run_with(1000, 60), lambda: "SIGTERM")


def test_what_ray_train_could_not_write_is_a_sentence() -> None:
    group = Group.__new__(Group)
    group._run = run_with(0, 0)
    error: Any = RuntimeError("the controller failed")
    error.controller_failure = OSError("When getting information for key 'x': NETWORK_CONNECTION")
    words, sentence = group.reason(error)
    assert words == "Ray Train can't write (When getting information for key 'x': NETWORK_CONNECTION)"
    assert str(sentence) == (
        "sr-x2: Ray Train can't write its own few files (When getting information for key 'x': NETWORK_CONNECTION): "
        "see whether s3://bucket answers and the disk has room, and start it again; it goes on from its last "
        "checkpoint."
    )
