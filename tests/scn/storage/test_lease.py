"""A lease is held by one, refreshed while it is held, and taken from who shows no life."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import Stopped, UserError
from scn.storage import lease as leases
from scn.storage import open_store
from scn.storage.base import Store, StoreError, Token
from scn.storage.lease import Holder, Lease, LeaseLost, check_lease
from scn.storage.local import FileStore

KEY = "runs/a/lease.json"


@pytest.fixture
def store(any_store_url: str) -> Store:
    opened = open_store(any_store_url)
    opened.check()  # the probe of a service takes longer than a refresh here
    return opened


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LASTS_SECONDS", 0.3)
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(leases, "REFRESH_SECONDS", 0.05)


def of(store: Store, **elsewhere: Any) -> Lease:
    """A lease of this process, or of one with other properties: of another machine by `kernel`."""
    made = Lease(store, KEY, what="The run of a")
    made._record = {**made._record, **elsewhere}
    return made


def held(store: Store) -> Holder:
    return Holder.parse(store.read_pointer(KEY)[0] or b"")


def test_a_lease_is_held_refreshed_and_given_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOK_SECONDS", 60.0)  # a refresh at the end is waited for, however slow the store
    told: list[str] = []
    mine = of(store)
    mine.take(told.append)
    first = store.read_pointer(KEY)
    with mine:
        deadline = time.monotonic() + 60
        while store.read_pointer(KEY)[1] == first[1]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert held(store).id == mine.id
        mine.check()
        check_lease(store, KEY, mine.id, "a")
    assert store.read_pointer(KEY) == (None, None)
    assert told == []


def test_who_comes_second_is_told_who_has_it_and_since_when(store: Store) -> None:
    with of(store) as mine:
        mine.take(print)
        with pytest.raises(UserError) as error:
            of(store).take(print)
    assert str(error.value) == (
        f"The run of a is held by process {mine._record['pid']} of {mine._record['user']} on {mine._record['host']} "
        f"since {mine._record['since']}: wait for its end, or stop it there and start this one again."
    )


def test_a_holder_on_another_machine_is_watched_and_refused_if_it_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LASTS_SECONDS", 60.0)  # its thread may be late on a busy machine
    told: list[str] = []
    theirs = of(store, kernel="another", host="node7", pid=1)
    theirs.take(print)
    with theirs, pytest.raises(UserError, match=r"is held by process 1 of .* on node7 since .*: wait for its end"):
        of(store).take(told.append)
    assert [line.partition(" since ")[0] for line in told] == [
        f"The run of a is held by process 1 of {_user()} on node7"
    ]
    assert told[0].endswith(": waits 60 s at most to see whether that lives")


def test_a_lease_that_is_not_refreshed_is_taken(store: Store) -> None:
    told: list[str] = []
    theirs = of(store, kernel="another", host="node7", pid=1)
    theirs.take(print)
    start = time.monotonic()
    mine = of(store)
    mine.take(told.append)
    assert time.monotonic() - start >= 0.3
    assert "The run of a is taken over, as process 1" in told[1]
    theirs.refresh()
    with pytest.raises(LeaseLost, match=f"The run of a was taken over by process {mine._record['pid']} of "):
        theirs.check()
    with pytest.raises(LeaseLost):
        check_lease(store, KEY, theirs.id, "The run of a")
    theirs.give_back()
    assert held(store).id == mine.id


def test_who_was_cut_off_has_lost_a_lease_that_was_taken_and_given_back(store: Store) -> None:
    theirs = of(store, kernel="another", host="node7", pid=1)
    theirs.take(print)
    mine = of(store)
    mine.take(print)
    mine.give_back()
    theirs.refresh()
    message = r"^The run of a is not held by this process any more, as .*/runs/a/lease\.json is gone: another process"
    with pytest.raises(LeaseLost, match=message):
        theirs.check()
    with pytest.raises(LeaseLost, match=message):
        check_lease(store, KEY, theirs.id, "The run of a")
    assert store.read_pointer(KEY) == (None, None)


def test_a_lease_that_nobody_took_is_held_after_any_time(store: Store) -> None:
    mine = of(store)
    mine.take(print)
    time.sleep(2 * leases.LASTS_SECONDS)
    check_lease(store, KEY, mine.id, "The run of a")
    mine.refresh()
    mine.check()
    assert held(store).id == mine.id


def test_a_lease_that_is_taken_while_it_is_given_back_stays(tmp_path: Path) -> None:
    class Slow(FileStore):
        """Between the first reading of the pointer and what follows, another process takes it."""

        taken = False

        def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
            seen = super().read_pointer(key)
            if not self.taken:
                self.taken = successor._move(seen[1])
            return seen

    successor, mine = of(FileStore(tmp_path)), of(FileStore(tmp_path))
    mine.take(print)
    mine._store = Slow(tmp_path)
    mine.give_back()
    assert held(FileStore(tmp_path)).id == successor.id


def test_a_killed_process_of_this_machine_is_seen_to_be_gone(tmp_path: Path) -> None:
    code = (
        "import sys, time, scn.storage as s\nfrom scn.storage.lease import Lease\n"
        f"Lease(s.open_store(sys.argv[1]), {KEY!r}, what='a').take(print)\nprint('held', flush=True)\ntime.sleep(600)\n"
    )
    url, told = f"file://{tmp_path}", []
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"held by process {holder.pid} of "):
            of(open_store(url)).take(print)
        holder.kill()
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie, which has its number still
        of(open_store(url)).take(told.append)
    assert told == []


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    of(store, started="1").take(print)
    second = of(store)
    second.take(print)
    assert held(store).id == second.id


def test_of_two_that_come_at_once_one_gets_it(store: Store) -> None:
    got: list[str] = []

    def come(name: str) -> None:
        try:
            of(store).take(print)
            got.append(name)
        except UserError as error:
            got.append(str(error).partition(" by ")[0])

    threads = [threading.Thread(target=come, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got)[:3] == ["The run of a is held"] * 3
    assert sorted(got)[3] in "abcd"


def test_a_wait_can_be_stopped(store: Store) -> None:
    of(store, kernel="another").take(print)
    with pytest.raises(Stopped, match=r"The run of a was stopped before it began \(SIGTERM\); the same command"):
        of(store).take(print, lambda: "SIGTERM")


def test_a_store_that_lets_nothing_move_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileStore, key: str, data: bytes, token: Token) -> bool:
        return False

    monkeypatch.setattr(FileStore, "swap_pointer", refuse)
    with pytest.raises(StoreError, match=r"lease\.json can't be moved: delete it"):
        of(FileStore(tmp_path)).take(print)


def test_a_store_that_fails_costs_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread tries again; what the holder has is lost only to another one."""
    failed = threading.Event()

    def fail(self: FileStore, key: str) -> tuple[bytes | None, Token]:
        failed.set()
        raise StoreError("cut")

    store = FileStore(tmp_path)
    mine = of(store)
    mine.take(print)
    before = store.read_pointer(KEY)[1]
    with mine:
        with monkeypatch.context() as patched:
            patched.setattr(FileStore, "read_pointer", fail)
            assert failed.wait(60)
        mine.check()
        deadline = time.monotonic() + 60
        while store.read_pointer(KEY)[1] == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", json.dumps({"pid": "x"}).encode()])
def test_what_is_no_lease_is_taken_after_a_while(tmp_path: Path, content: bytes) -> None:
    store = FileStore(tmp_path)
    assert store.swap_pointer(KEY, content, None)
    mine, told = of(store), []
    mine.take(told.append)
    assert "is held by someone: waits" in told[0]
    assert held(store).id == mine.id


def _user() -> str:
    return str(of(FileStore(Path("/nowhere")))._record["user"])
