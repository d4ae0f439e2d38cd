"""A store that fails is asked again for a time, the user is told, and a wait can be ended."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from scn.storage import patience
from scn.storage.base import ObjectNotFound, StoreBusy, StoreError, StoreLacks, StoreRefuses, Token
from scn.storage.local import FileStore
from scn.storage.patience import Patience, PatientStore, reached


class Failing(FileStore):
    """A store of which the next `failures` readings fail after half of the bytes."""

    failures = 0.0

    def _read(self, key: str, file: IO[bytes]) -> None:
        if self.failures:
            self.failures -= 1
            file.write(b"half")
            raise StoreError(f"No answer for {self.url}/{key} (cut): start it.")
        super()._read(key, file)


@pytest.fixture
def failing(tmp_path: Path) -> Failing:
    store = Failing(tmp_path / "store")
    store.put("a/b", b"content")
    return store


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; each passes at once, by the clock that the code reads."""
    made: list[float] = []

    def rest(seconds: float, over: Callable[[], object]) -> bool:
        made.append(seconds)
        return not over()

    monkeypatch.setattr(patience, "rest", rest)
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(made))
    return made


def test_what_fails_for_a_while_is_read_whole(failing: Failing, pauses: list[float], tmp_path: Path) -> None:
    store, failing.failures = PatientStore(failing, Patience(failing.url, 600)), 3
    assert store.get("a/b") == b"content"
    failing.failures = 3
    store.get_file("a/b", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert pauses == [0.5, 1, 2] * 2


def test_pauses_grow_and_end(failing: Failing, pauses: list[float]) -> None:
    store, failing.failures = PatientStore(failing, Patience(failing.url, 100)), float("inf")
    with pytest.raises(StoreError, match="No answer"):
        store.get("a/b")
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 8.5]
    assert sum(pauses) == 100


def test_where_others_wait_with_the_process_it_waits_for_seconds(failing: Failing, pauses: list[float]) -> None:
    store, failing.failures = PatientStore(failing, Patience(failing.url, 100)), float("inf")
    for seconds in (0.0, 2.0):
        pauses.clear()
        with patience.at_most(seconds), pytest.raises(StoreError, match="No answer"):
            store.get("a/b")
        assert sum(pauses) == seconds
    pauses.clear()
    with pytest.raises(StoreError, match="No answer"):
        store.get("a/b")
    assert sum(pauses) == 100


def test_the_user_is_told_once_that_the_store_fails_and_once_that_it_answers(
    failing: Failing, pauses: list[float]
) -> None:
    told: list[str] = []
    waiting = Patience(failing.url, 600)
    store = PatientStore(failing, waiting)
    with waiting.within(told.append, lambda: ""):
        failing.failures = 2
        store.get("a/b")
        assert told == []  # it was over in a moment
        failing.failures = 9
        store.get("a/b")
    away = f"The store fails (No answer for {failing.url} (cut): start it): it is tried again for 600 s at most."
    assert told == [away, "The store answers again."]


@pytest.mark.parametrize(("reached", "other", "moved"), [(True, b"", True), (False, b"", True), (False, b"b", False)])
def test_a_swap_whose_answer_is_lost_is_looked_after(
    tmp_path: Path, pauses: list[float], reached: bool, other: bytes, moved: bool
) -> None:
    """It may have been carried out, or not, or another process may have been faster."""

    class Cut(FileStore):
        cuts = 1

        def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
            if not self.cuts:
                return super().swap_pointer(key, data, token)
            self.cuts -= 1
            if reached or other:
                super().swap_pointer(key, other or data, token)
            raise StoreError("No answer: start it.")

    cut = Cut(tmp_path)
    assert PatientStore(cut, Patience(cut.url, 600)).swap_pointer("p", b"a", None) is moved
    assert cut.read_pointer("p")[0] == (other or b"a")
    assert pauses == [0.5]


def test_what_waiting_does_not_change_is_told_at_once(failing: Failing, pauses: list[float]) -> None:
    patient = PatientStore(failing, Patience(failing.url, 600))
    with pytest.raises(StoreLacks, match="Not a directory"):
        patient.put("a/b/c", b"1")
    with pytest.raises(StoreLacks, match="can't name an object"):
        patient.exists("a//b")
    assert pauses == []


def test_what_is_not_there_is_told_at_once(failing: Failing, pauses: list[float]) -> None:
    with pytest.raises(ObjectNotFound):
        PatientStore(failing, Patience(failing.url, 600)).get("a/c")
    assert pauses == []


def test_a_wait_ends_when_the_run_is_stopped(failing: Failing) -> None:
    """Here the pauses are real: none of them is waited for."""
    waiting, failing.failures = Patience(failing.url, 600), float("inf")
    store, asked = PatientStore(failing, waiting), iter([False, True])
    with waiting.within(str, lambda: next(asked)), pytest.raises(StoreError):
        store.get("a/b")
    with waiting.within(str, lambda: False), waiting.ending():
        failing.failures = 0
        store.get("a/b")
    with waiting.within(str, lambda: False):
        with waiting.ending():
            failing.failures = float("inf")
        with pytest.raises(StoreError):
            store.get("a/b")


def test_a_patient_store_goes_to_other_processes(failing: Failing) -> None:
    again = pickle.loads(pickle.dumps(PatientStore(FileStore(Path(failing.url[7:])), Patience(failing.url, 5))))
    assert again.url == failing.url
    assert again.get("a/b") == b"content"
    assert again.put("a/c", b"more") is True
    assert (again.exists("a/c"), again.list("a")) == (True, ["a/b", "a/c"])
    again.delete("a/c")
    assert not again.exists("a/c")
    assert again.swap_pointer("p", b"1", None)
    assert again.read_pointer("p")[0] == b"1"


def test_a_refusal_is_waited_for_a_minute_only(tmp_path: Path, pauses: list[float]) -> None:
    """A service that is just starting may refuse what it takes a moment later; wrong keys stay wrong."""

    class Refusing(FileStore):
        refusals = 3.0

        def exists(self, key: str) -> bool:
            if self.refusals:
                self.refusals -= 1
                raise StoreRefuses("s3://bucket refused access: check the keys.")
            return super().exists(key)

    told: list[str] = []
    refusing, waiting = Refusing(tmp_path), Patience("s3://bucket", 600)
    store = PatientStore(refusing, waiting)
    assert store.exists("a") is False
    assert pauses == [0.5, 1, 2]
    pauses.clear()
    refusing.refusals = float("inf")
    with waiting.within(told.append, lambda: ""), pytest.raises(StoreRefuses):
        store.exists("a")
    assert sum(pauses) == 60
    assert told[0].endswith("it is tried again for 60 s at most.")


def test_a_service_that_is_busy_at_the_start_is_waited_for_and_one_that_is_not_there_is_not(
    tmp_path: Path, pauses: list[float]
) -> None:
    class Starting(FileStore):
        errors: list[StoreError]

        def reach(self) -> None:
            if self.errors:
                raise self.errors.pop()

        def check(self, write: bool = True) -> None:
            self.reach()

    store = Starting(tmp_path)
    store.errors = [StoreBusy("503")] * 4
    opened = reached(store, 600)
    assert opened.exists("a") is False
    assert pauses == [0.5, 1, 2]
    store.errors = [StoreBusy("503")] * 2
    opened.check()
    store.errors = [StoreError("No answer")] * 2  # it was there before
    opened.check()
    assert store.errors == []
    store.errors = [StoreRefuses("403")]
    with pytest.raises(StoreRefuses):
        opened.check()
    pauses.clear()
    store.errors = [StoreError("No answer")]
    with pytest.raises(StoreError, match="No answer"):
        reached(store, 600)
    assert pauses == []
