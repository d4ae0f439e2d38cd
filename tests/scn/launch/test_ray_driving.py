"""How often the driver starts workers again: failures count since the last checkpoint, not since the run began."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.launch import ray_train
from scn.launch.ray_group import RESTARTS

Groups = Callable[[list[tuple[int, bool]]], Iterator[object]]


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Groups:
    """Makes the groups of a run: of each its newest checkpoint, and whether it fails; returns those not started."""

    def make(ends: list[tuple[int, bool]]) -> Iterator[object]:
        left = iter(ends)

        class Group:
            grows = False

            def __init__(self, *given: object) -> None:
                self.saved, self.fails = next(left)

            def follow(self, *given: object) -> Exception | None:
                return RuntimeError("killed") if self.fails else None

            def reason(self, error: Exception) -> tuple[str, UserError]:
                return "rank 0 died", UserError("rank 0 died too often.")

        monkeypatch.setattr(ray_train, "Group", Group)
        monkeypatch.setattr(ray_train, "_wait_for_room", lambda run, bundle, counts, *given: counts[0])
        monkeypatch.setattr(ray_train, "cpus_per_worker", lambda workers: 1)
        monkeypatch.setattr(ray_train, "_uses_gpus", lambda config: False)
        monkeypatch.setattr(ray_train, "_wait_for_store", lambda *given: None)
        return left

    return make


def drive(threads: int | None = None) -> None:
    config = SimpleNamespace(workers=1)
    train = SimpleNamespace(threads=threads, lanes=0)
    experiment: Any = SimpleNamespace(name="sr-x2", train=train, run=config, worker_counts=lambda: [1])
    ray_train._drive(SimpleNamespace(experiment=experiment), ("", None), None, lambda: "", 1)  # type: ignore[arg-type]


def test_workers_that_save_a_newer_checkpoint_before_each_failure_are_always_started_again(
    groups: Groups, capsys: pytest.CaptureFixture[str]
) -> None:
    count = RESTARTS + 2
    left = groups([*((step, True) for step in range(1, count + 1)), (count + 1, False)])
    drive()
    assert list(left) == []
    assert capsys.readouterr().out == "sr-x2: rank 0 died; starts the workers again\n" * count


def test_workers_that_fail_without_a_newer_checkpoint_are_given_up(groups: Groups) -> None:
    left = groups([(5, True), *[(5, True)] * RESTARTS, (6, False)])
    with pytest.raises(UserError, match=r"^rank 0 died too often\.$"):
        drive()
    assert list(left) == [(6, False)]


def test_more_threads_than_a_worker_has_cpus_are_told(groups: Groups, capsys: pytest.CaptureFixture[str]) -> None:
    groups([(1, False)])
    drive(threads=2)
    assert capsys.readouterr().out.startswith("sr-x2: train.threads is 2 and a worker has 1 CPU: steps take longer")
