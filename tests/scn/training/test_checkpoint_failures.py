"""Checkpoints survive kills, failing stores, full disks and damage."""

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from saved_runs import (
    Machine,
    UnsteadyStore,
    assert_found,
    damage,
    names,
    one_sentence,
    save_all,
    state,
    steps_here,
    steps_stored,
)

from scn.core.errors import UserError
from scn.storage.base import StoreError
from scn.storage.local import FileStore
from scn.storage.patience import Patience
from scn.training.checkpoint import Checkpoints

# Kills


KILLED = """
import os, random, sys, time, torch
from pathlib import Path
from scn.storage import open_store
from scn.training.checkpoint import Checkpoints

torch.set_num_threads(1)
root = Path(sys.argv[1])

def make(name):
    store = open_store(f"file://{root}/store")
    return Checkpoints(store=store, folder=root / name, experiment=name, identity={"level": 2}, keep=1)

def save(checkpoints, step):
    state = {"network": {"weight": torch.full((1000,), float(step))}, "rows": [{"step": step, "loss": 0.5}]}
    checkpoints.save(step, {**state, "moments": torch.full((300_000,), float(step))})

def kill(child):
    os.kill(child, 9)
    assert os.waitpid(child, 0)[1] == 9

reading, writing = os.pipe()
if (child := os.fork()) == 0:
    checkpoints = make("middle")
    save(checkpoints, 1)
    checkpoints.wait()
    os.fsync = lambda _: (os.write(writing, b"1"), time.sleep(600))
    save(checkpoints, 2)
os.read(reading, 1)
kill(child)

chance = random.Random(0)
for number in range(12):
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        checkpoints = make("random")
        step, found = checkpoints.load() or (0, {})
        assert not found or bool((found["moments"] == step).all())
        os.write(1, f"found {step}\\n".encode())
        while True:
            step += 1
            save(checkpoints, step)
            os.write(1, f"saved {step}\\n".encode())
            os.write(writing, b"1")
    for _ in range(number % 4):  # so many are saved at least, however slow the machine is
        os.read(reading, 1)
    time.sleep(chance.uniform(0.05, 0.4))
    kill(child)
"""
"""Kills a process when a checkpoint's bytes are written but not yet named, then other processes at any time."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs KILLED; returns the folder that its processes have left, and their output."""
    root = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(root)]
    return root, subprocess.run(command, capture_output=True, text=True, check=True).stdout


def left_by(root: Path, name: str) -> Checkpoints:
    return Checkpoints(store=FileStore(root / "store"), folder=root / name, experiment=name, identity={"level": 2})


def test_a_save_that_was_killed_leaves_the_one_before(killed: tuple[Path, str]) -> None:
    a = left_by(killed[0], "middle")
    assert [file.stat().st_size > 1_200_000 for file in a.folder.glob(".scn-tmp/*")] == [True]
    assert_found(a.load(), 1)


def test_kills_at_any_time_lose_nothing_that_was_saved(killed: tuple[Path, str]) -> None:
    """Kills hit the writing, the naming, the deleting and the storing; the next process finds the last step whole."""
    root, output = killed
    saved = 0
    for line in output.splitlines():
        word, step = line.split()
        if word == "found":
            assert saved <= int(step) <= saved + 1  # one may be on the disk and not yet announced
        saved = int(step)
    assert output.count("found") > 3
    assert saved > 5
    found = left_by(root, "random").load()
    assert found is not None
    assert saved <= found[0] <= saved + 1
    assert found[1]["moments"].unique().tolist() == [found[0]]


# Stores that fail


def test_a_save_does_not_wait_for_the_store(machine: Machine, tmp_path: Path) -> None:
    """Of the checkpoints saved meanwhile, only the newest and the best are stored."""
    store = UnsteadyStore(tmp_path / "store")
    store.gate.clear()
    a = machine(store)
    a.save(1, state(1))
    assert store.reached.wait(60)
    for step, score in ((2, 30.0), (3, 31.0), (4, 30.0), (5, 30.5), (6, None)):
        a.save(step, state(step), score)
    assert store.steps == []
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "checkpoints"] == [True]
    store.gate.set()
    a.wait()
    assert store.steps == [1, 6, 3]
    assert steps_stored(a, store) == [3, 6]
    assert steps_here(a) == [3, 5, 6]


@pytest.mark.parametrize("fails", ["put", "list"])
def test_a_store_that_fails_for_a_while_loses_nothing(machine: Machine, tmp_path: Path, fails: str) -> None:
    store = UnsteadyStore(tmp_path / "store")
    a = machine(store)
    save_all(a, 1)
    store.fails, store.failures = fails, 7
    save_all(a, 2)
    assert store.failures == 0
    assert steps_stored(a, store) == [1, 2]
    assert_found(machine(store, "b").load(), 2)


def test_a_store_that_fails_for_good_stops_the_run_and_costs_no_step(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store", failures=float("inf"))
    a = machine(store, patience=Patience(store.url, 0))
    with pytest.raises(StoreError) as error:
        save_all(a, 1)
    file = a.folder / str(names(a.folder)[-1])
    assert one_sentence(error) == (
        "The store has failed for 0 seconds (No answer from the service in put: start it): start the run again with "
        f"the store in order; nothing is lost, step 1 is in {file}."
    )
    with pytest.raises(StoreError, match=r"step 2 is in .*/step-00000002-[0-9a-f]{16}\.pt\.$"):
        a.save(2, state(2))
    assert steps_stored(a, store) == []

    store.failures = 0
    again = machine(store)
    assert_found(again.load(), 2)
    again.wait()
    assert steps_stored(again, store) == [2]  # which only this machine had
    save_all(again, 3)
    assert steps_stored(again, store) == [2, 3]


def test_what_fails_to_be_read_for_a_while_is_read(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store", fails="list")
    save_all(machine(store), 5)
    b = machine(store, "b")
    for ask in (b.load, b.best, b.others):
        store.failures = 3
        ask()
        assert store.failures == 0
    assert_found(b.load(), 5)


def test_what_can_not_be_read_for_long_is_told(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store", fails="list", failures=float("inf"))
    a = machine(store, patience=Patience(store.url, 0.01))
    for ask in (a.load, a.best, a.others):
        with pytest.raises(StoreError, match="No answer from the service in list"):
            ask()


# Disks that fail


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("done", "then"), [((), "which begins anew"), ((5,), "which goes on from step 5, the last good one")]
)
def test_a_full_disk_is_told_and_keeps_the_last_good_one(
    machine: Machine, tmp_path: Path, done: tuple[int, ...], then: str
) -> None:
    store = FileStore(tmp_path / "store")
    save_all(machine(store), *done)
    a = machine(store)
    a.load()
    with largest_file(2**20), pytest.raises(UserError) as error:
        a.save(10, state(10, numbers=2**19))
    assert one_sentence(error) == (
        f"The checkpoint of step 10 can't be written to {a.folder} (File too large): make room there or make "
        f"the folder writable, and start the run again, {then}."
    )
    assert [file.name for file in a.folder.iterdir() if file.stat().st_size > 2**16] == []
    assert steps_here(a) == list(done)
    assert (machine(store).load() or (None,))[0] == (done[-1] if done else None)


def test_a_damaged_file_gives_way_to_the_stored_one_and_both_to_the_one_before(
    machine: Machine, tmp_path: Path
) -> None:
    store = FileStore(tmp_path / "store")
    a = machine(store)
    save_all(a, 5, 10, 15)
    assert steps_here(a) == [10, 15]
    here, stored = (
        folder / str(names(a.folder)[-1]) for folder in (a.folder, tmp_path / "store/runs/sr-x2" / a.run_id)
    )
    damage(here)
    assert_found(a.load(), 15)
    damage(stored)
    again = machine(store, keep=1)
    assert_found(again.load(), 10)
    save_all(again, 12)  # the damaged ones must not pass for the newest
    assert steps_here(again) == steps_stored(again, store) == [12]
    assert_found(again.load(), 12)


def test_a_disk_that_cannot_be_read_gives_way_to_the_store(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str) -> bytes:
        raise StoreError(f"{key} can't be used (Input/output error): check the disk.")

    a = machine(FileStore(tmp_path / "store"))
    save_all(a, 5)
    monkeypatch.setattr(a._here.store, "get", fail)
    assert_found(a.load(), 5)


def test_the_same_checkpoint_replaces_its_damaged_copies(machine: Machine, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    a = machine(store)
    save_all(a, 5)
    (name,) = names(a.folder)
    damage(a.folder / str(name))
    damage(tmp_path / "store/runs/sr-x2" / a.run_id / str(name))
    with pytest.raises(UserError, match=r"Every checkpoint of the run is damaged \(.*store/runs.*--no-resume"):
        a.load()
    assert [Path(file).name for file in a.damaged] == [str(name)] * 2
    save_all(a, 5)
    assert names(a.folder) == [name]
    assert_found(a.load(), 5)
    assert_found(machine(store, "b").load(), 5)


def test_a_file_that_is_gone_before_it_was_stored_is_told(machine: Machine, tmp_path: Path) -> None:
    store = UnsteadyStore(tmp_path / "store")
    a = machine(store)
    save_all(a, 5)
    store.failures = float("inf")
    a.save(10, state(10))
    damage(a.folder / str(names(a.folder)[-1]))
    with pytest.raises(UserError, match=r"step-00000010-.*\.pt was damaged or removed before it was stored"):
        a.wait()
