"""Checkpoints: saved, found, kept, deleted; code in them is never run."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saved_runs import (
    IDENTITY,
    Machine,
    UnsteadyStore,
    assert_found,
    one_sentence,
    save_all,
    state,
    steps_here,
    steps_stored,
)

from scn.core.errors import UserError
from scn.core.hashing import digest
from scn.storage.base import Store
from scn.storage.lease import Lease, LeaseLost
from scn.storage.local import FileStore
from scn.training.checkpoint_files import Name

# Saved and loaded


def test_every_machine_finds_what_one_has_saved(machine: Machine, store: Store) -> None:
    a, b = machine(store), machine(store, "b")
    assert a.load() is b.load() is a.best() is a.best_score() is None
    save_all(a, 5)
    assert a.run_id == digest(IDENTITY)[:16]
    identity, key = store.list()
    assert identity == f"runs/sr-x2/{a.run_id}/identity.json"
    assert key.startswith(f"runs/sr-x2/{a.run_id}/step-00000005-")
    assert (a.folder / key.rpartition("/")[2]).read_bytes() == store.get(key)
    assert_found(a.load(), 5)
    assert_found(b.load(), 5)
    assert b.load()[1]["identity"] == IDENTITY  # type: ignore[index]
    save_all(b, 10)
    assert_found(machine(store).load(), 10)
    assert not machine(store, identity={**IDENTITY, "level": 3}).load()


def test_a_state_is_kept_as_it_was_when_it_was_saved(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store")
    store.gate.clear()
    a, changing = machine(store), state(5)
    a.save(5, changing)
    changing["network"]["weight"].zero_()
    store.gate.set()
    a.wait()
    assert_found(machine(store, "b").load(), 5)


def test_what_lies_here_is_not_fetched(machine: Machine, tmp_path: Path) -> None:
    a = machine(FileStore(tmp_path / "store"))
    save_all(a, 5)
    shutil.rmtree(tmp_path / "store" / "runs")
    assert_found(a.load(), 5)


def test_the_last_and_the_best_are_kept_in_both_places(machine: Machine, store: Store) -> None:
    a = machine(store)
    save_all(a, 1, 2, 3, 4, 5, 6, scores=(None, 30.5, 30.1, 30.5, float("nan"), 29.0))
    assert steps_here(a) == steps_stored(a, store) == [2, 5, 6]
    for checkpoints in (a, machine(store, "b")):
        assert checkpoints.best_score() == (2, 30.5)
        assert_found(checkpoints.best(), 2)
        assert checkpoints.best()[1]["score"] == 30.5  # type: ignore[index]

    resumed = machine(store, "b", keep=1)  # knows the best score, which it never held itself
    save_all(resumed, 7, 8, scores=(30.4, None))
    assert steps_stored(resumed, store) == [2, 8]
    assert steps_here(resumed) == [7, 8]
    save_all(resumed, 9, 10, scores=(30.6, None))
    assert steps_here(resumed) == steps_stored(resumed, store) == [9, 10]


@pytest.mark.parametrize("score", [-0.5, 0.0, 1e-7, 1e17, 31.123456789012345])
def test_a_score_is_read_off_the_name_as_it_was(machine: Machine, tmp_path: Path, score: float) -> None:
    store = FileStore(tmp_path / "store")
    save_all(machine(store), 5, scores=(score,))
    assert machine(store, "b").best_score() == (5, score)


def test_what_could_not_be_loaded_is_not_saved(machine: Machine, tmp_path: Path) -> None:
    a = machine(FileStore(tmp_path / "store"))
    with pytest.raises(pickle.UnpicklingError):
        a.save(5, {"psnr": np.float64(30.5)})
    assert a.load() is None


# Files that are not ours


class Code:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("where", ["here", "there"])
def test_code_in_a_checkpoint_is_refused_and_not_executed(machine: Machine, tmp_path: Path, where: str) -> None:
    store = FileStore(tmp_path / "store")
    a = machine(store)
    save_all(a, 5)
    proof, file = tmp_path / "proof", tmp_path / "malicious.pt"
    torch.save({"identity": IDENTITY, "network": Code(proof)}, file)
    name = Name.of(10, file.read_bytes(), None)
    if where == "here":
        shutil.copy(file, a.folder / str(name))
    else:
        store.put(f"runs/sr-x2/{a.run_id}/{name}", file.read_bytes())
    with pytest.raises(UserError, match=rf"{name} is no checkpoint of a run, and no code in it was executed") as error:
        a.load()
    one_sentence(error)
    assert not proof.exists()
    torch.load(file, weights_only=False)
    assert proof.is_dir()  # it would have been


def test_a_checkpoint_of_another_configuration_is_refused(machine: Machine, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    other = machine(store, identity={**IDENTITY, "level": 4})
    save_all(other, 5)
    a = machine(store)
    shutil.copytree(other.folder, a.folder)
    with pytest.raises(
        UserError, match=r"is of another configuration \(level is 4 there, 2 here\): delete it"
    ) as error:
        a.load()
    one_sentence(error)


# Other runs


def test_other_runs_are_told_with_what_differs(machine: Machine, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    train = {"batch_size": 16, "learning_rate": 0.001, "late_loss": {"l1": 1.0}}
    first = machine(store, "b", {**IDENTITY, "train": train})
    save_all(first, 5, 10)
    second = machine(
        store, identity={"task": "dn", "level": 25, "manifest": "f" * 64, "train": {**train, "batch_size": 8}}
    )
    save_all(second, 3)
    old = store.list("runs/")[-1].rpartition("/")[2]
    store.put(f"runs/sr-x2/0123456789abcdef/{old}", b"from before identities were noted")
    store.put(f"runs/sr-x2-large/{first.run_id}/{old}", b"of another experiment")
    a = machine(store)
    save_all(a, 1)

    read: list[str] = []
    get = store.get

    def noted(key: str) -> bytes:
        read.append(key.rpartition("/")[2])
        return get(key)

    monkeypatch.setattr(store, "get", noted)
    assert a.others() == [
        (
            second.run_id,
            3,
            "level is 25 there, 2 here; manifest is ffffffffffff... there, null here; task is dn there, sr here; "
            "and 3 more",
            None,
        ),
        (
            first.run_id,
            10,
            "train.late_loss is {'l1': 1.0, 'smooth_l1': 0, 'mse': 0} there, null here; train.learning_rate is 0.001 "
            "there, 0.002 here",
            None,
        ),
        ("0123456789abcdef", Name.parse(old).step, "its configuration is not known", None),  # type: ignore[union-attr]
    ]
    assert set(read) <= {"identity.json"}


def test_runs_that_have_ended_elsewhere_leave_this_machine_and_others_stay(
    machine: Machine, store: Store, tmp_path: Path
) -> None:
    """Those of another store, of which this one knows nothing, and one that just begins."""
    ended, unfinished, begins = (machine(store, identity={**IDENTITY, "level": level}) for level in (3, 4, 5))
    elsewhere = machine(FileStore(tmp_path / "another"), identity={**IDENTITY, "level": 6})
    for run in (ended, unfinished, begins, elsewhere):
        save_all(run, 5)
    for run in (ended, begins):
        run._there.clear()
    (ended.folder / ".scn-tmp-left").write_bytes(b"by a killed process")
    a = machine(store)
    save_all(a, 5)
    with Lease(store, begins.lease, what="It") as lease:
        lease.take(print)
        a.remove_ended()
    assert not ended.folder.exists()
    assert store.list(f"runs/sr-x2/{ended.run_id}/") == []
    for run in (a, unfinished, begins, elsewhere):
        assert steps_here(run) == [5]
    a.remove_ended()
    assert not begins.folder.exists()


def test_a_run_that_has_begun_since_the_store_was_read_is_not_removed(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path / "store")
    a, other = machine(store), machine(store, identity={**IDENTITY, "level": 3})
    save_all(other, 5)
    other._there.clear()
    take = Lease.take

    def later(self: Lease, *given: Any) -> None:
        other.begin()
        take(self, *given)

    monkeypatch.setattr(Lease, "take", later)
    a.remove_ended()
    assert steps_here(other) == [5]


def test_a_store_that_fails_removes_nothing(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store", fails="list")
    other = machine(store, identity={**IDENTITY, "level": 3})
    save_all(other, 5)
    other._there.clear()
    store.failures = 1
    machine(store).remove_ended()
    assert (store.failures, steps_here(other)) == (0, [5])


# Generations and launches


def test_a_run_that_begins_anew_finds_nothing_of_before_on_any_machine(machine: Machine, store: Store) -> None:
    driver, worker = machine(store), machine(store, "b")
    driver.begin()
    assert worker.load() is None
    save_all(worker, 5, 10)
    worker.save(15, state(15))
    worker.wait()
    again = machine(store)
    again.begin(anew=True)
    assert again.load() is None

    restarted = machine(store, "b")
    assert steps_here(restarted) == [10, 15]
    assert restarted.load() is None
    assert not restarted.folder.exists()
    save_all(restarted, 1)
    assert_found(machine(store, "c").load(), 1)
    assert_found(machine(store, "b").load(), 1)


def test_a_run_that_was_finished_elsewhere_leaves_no_machine_anything(machine: Machine, store: Store) -> None:
    """A worker has lost its place to another machine, where the run ends; then it is trained again."""
    first, second = machine(store, "b"), machine(store, "c")
    machine(store).begin()
    save_all(first, 5)
    second.load()
    save_all(second, 10)
    second.hand_over()
    machine(store).delete()
    assert steps_here(first) == [5]
    machine(store).begin()
    assert machine(store, "b").load() is None


def test_a_generation_goes_on_where_only_one_place_knows_it(machine: Machine, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    a = machine(store)
    a.begin()
    save_all(a, 5)
    shutil.rmtree(tmp_path / "store" / "runs")  # the store has lost everything
    again = machine(store)
    again.begin()
    assert_found(again.load(), 5)
    again.wait()
    assert_found(machine(store, "b").load(), 5)  # what the store lacked was sent there
    shutil.rmtree(a.folder)
    machine(store).begin()
    assert_found(machine(store).load(), 5)


def test_a_launch_that_has_lost_the_run_changes_nothing_in_the_store(machine: Machine, store: Store) -> None:
    """The slower of two must not prune what the faster one has stored."""
    key = f"runs/sr-x2/{machine(store).run_id}/lease.json"
    with Lease(store, key, what="The run of sr-x2") as first:
        first.take(print)
        slow, worker = machine(store, launch=first.id), machine(store, "b", launch=first.id)
        slow.begin()
        save_all(slow, 1)
        save_all(worker, 2)
    with Lease(store, key, what="The run of sr-x2") as second:
        second.take(print)
        fast = machine(store, "c", launch=second.id)
        save_all(fast, 3, 4)
        before = store.list()
        with pytest.raises(LeaseLost, match=r"The run of sr-x2 was taken over by process \d+ of .* since .*: this"):
            save_all(slow, 9)
        with pytest.raises(LeaseLost):
            slow.delete()
        with pytest.raises(LeaseLost):
            slow.begin(anew=True)
        assert store.list() == before
        fast.delete()
        assert store.list() == [key]
    assert store.list() == []


def test_a_launch_whose_successor_has_ended_changes_nothing_in_the_store(machine: Machine, store: Store) -> None:
    key = f"runs/sr-x2/{machine(store).run_id}/lease.json"
    first, second = (Lease(store, key, what="The run of sr-x2") for _ in range(2))
    first.take(print)
    slow, fast = machine(store, launch=first.id), machine(store, "c", launch=second.id)
    slow.begin()
    save_all(slow, 500)
    assert second._move(store.read_pointer(key)[1])  # the first one is cut off for two minutes
    save_all(fast, 700, 800)
    second.give_back()
    before = store.list()
    first.refresh()
    with pytest.raises(LeaseLost, match=r"lease\.json is gone: another process took it over and has ended"):
        save_all(slow, 520)
    with pytest.raises(LeaseLost):
        slow.delete()
    assert store.list() == before
    assert_found(machine(store, "d").load(), 800)


# The end


def test_a_deleted_run_leaves_nothing_and_its_neighbour_alone(machine: Machine, store: Store) -> None:
    a, other = machine(store), machine(store, identity={**IDENTITY, "level": 3})
    save_all(a, 5, 10, scores=(30.0, 29.0))
    save_all(other, 5)
    (a.folder / ".scn-tmp-left").write_bytes(b"by a killed process")
    a.delete()
    assert not a.folder.exists()
    assert a.load() is None
    assert steps_stored(a, store) == []
    assert_found(other.load(), 5)
    assert len(store.list()) == 2
    save_all(a, 1)
    assert_found(a.load(), 1)


def test_what_is_deleted_is_not_stored_afterwards(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store", failures=float("inf"))
    a = machine(store)
    a.save(5, state(5))
    assert store.reached.wait(60)
    a.delete()
    store.failures = 0
    a.wait()
    assert store.list() == []
    assert a.load() is None


def test_a_run_is_handed_over_to_another_machine(machine: Machine, store: Store) -> None:
    a = machine(store)
    save_all(a, 5, scores=(30.0,))
    a.save(10, state(10))
    a.hand_over()
    assert not a.folder.exists()
    assert steps_stored(a, store) == [5, 10]
    assert_found(machine(store, "b").load(), 10)
