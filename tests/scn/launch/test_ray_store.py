"""Ray Train's own few files: a store that is away is waited for before workers start again, and told if it stays so."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

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


def reason(cause: Exception) -> tuple[str, Any]:
    """What a group says of an error in Ray Train's controller."""
    group = Group.__new__(Group)
    group._run = run_with(0, 0)
    error: Any = RuntimeError("the controller failed")
    error.controller_failure = cause
    return group.reason(error)


@pytest.mark.parametrize(
    ("cause", "clause"),
    [
        (OSError("When getting information for key 'x': NETWORK_CONNECTION"), "When getting information for key 'x': "),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
    ],
    ids=["PyArrow's of S3", "full disk", "no right"],
)
def test_what_ray_train_could_not_write_is_a_sentence(cause: OSError, clause: str) -> None:
    words, sentence = reason(cause)
    assert words.startswith(f"Ray Train can't write ({clause}")
    assert str(sentence) == (
        f"sr-x2: Ray Train can't write its own few files ({cause}): see whether s3://bucket answers and the disk has "
        "room, and start it again; it goes on from its last checkpoint."
    )


@pytest.mark.parametrize(
    "cause",
    [
        GetTimeoutError("Get timed out: some object(s) not ready."),
        ConnectionError("Ray has not been started yet."),
        TimeoutError("placement group not ready"),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_what_the_cluster_did_not_answer_is_no_matter_of_files(cause: OSError) -> None:
    assert reason(cause) == (f"{type(cause).__name__}: {str(cause).rstrip('.')}", None)
