"""Waiting for a store that fails: the one piece by which training and data preparation survive that it is away."""

import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from scn.core.masking import masked
from scn.storage.base import (
    Content,
    ObjectExists,
    ObjectNotFound,
    Row,
    Store,
    StoreBusy,
    StoreError,
    StoreLacks,
    StoreRefuses,
    Token,
)

T = TypeVar("T")

FIRST_PAUSE = 0.5  # seconds from a failure of the store to the next attempt; doubled each time
LONGEST_PAUSE = 30.0
REFUSED_SECONDS = 60.0
"""Seconds for which a refusal is waited for: a service that is just starting may know no keys and no buckets yet."""
TOLD_AFTER = 3.0  # seconds for which the store has to fail before the user is told
_LOOK = 0.1  # seconds between two looks whether to go on waiting


_longest = math.inf  # seconds for which anything in this process waits, see `at_most`


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Context in which no thread of this process waits for a store any longer, whatever its Patience allows.

    For a process that answers others, who would wait with it.
    """
    global _longest
    before, _longest = _longest, seconds
    try:
        yield
    finally:
        _longest = before


def _print(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class Patience:
    """Repeats what fails because a store does, for a time; several threads may share one.

    The user is told once when the store has failed for a few seconds, and once when it answers again.

    Attributes:
        tell: is called with the sentence for the user, by any thread.
        stopping: is asked while waiting, by any thread; a true answer ends the wait with the store's error.
    """

    def __init__(self, url: str, seconds: float) -> None:
        """Allows the store at `url` to fail for `seconds`."""
        self.url, self.seconds = url, seconds
        self.tell: Callable[[str], object] = _print
        self.stopping: Callable[[], object] = lambda: False
        self._told = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["Patience"], tuple[str, float]]:
        return Patience, (self.url, self.seconds)

    def __call__(self, attempt: Callable[[], T], needless: Callable[[], object] | None = None) -> T:
        """Calls `attempt` until the store does not fail, and returns its result.

        Args:
            needless: is asked while waiting, in place of `stopping`; a true answer ends the wait.
        Raises:
            ObjectNotFound, ObjectExists, StoreLacks: at once, because the store has answered.
            StoreError: the last one, if the store has failed for `seconds`, or those of `at_most`, has refused for
                REFUSED_SECONDS, or the wait was ended.
        """
        over = needless or self.stopping
        start, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                result = attempt()
            except (ObjectNotFound, ObjectExists, StoreLacks):
                self._answered()
                raise
            except StoreError as error:
                most = min(self.seconds, _longest, REFUSED_SECONDS if isinstance(error, StoreRefuses) else math.inf)
                waited = time.monotonic() - start
                if waited >= most:
                    raise
                if waited >= TOLD_AFTER:
                    self._failed(error, most)
                if not rest(min(pause, most - waited), over):
                    raise
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._answered()
                return result

    @contextmanager
    def within(self, tell: Callable[[str], object], stopping: Callable[[], object]) -> Iterator[None]:
        """Context in which `tell` and `stopping` are those of a run."""
        before = self.tell, self.stopping
        self.tell, self.stopping = tell, stopping
        try:
            yield
        finally:
            self.tell, self.stopping = before

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Context, inside of `within`, after which nothing waits any more: threads can be joined."""
        try:
            yield
        finally:
            self.stopping = lambda: True

    def _failed(self, error: StoreError, most: float) -> None:
        with self._lock:
            told, self._told = self._told, True
        if not told:
            # Without the key: processes that miss different objects have one thing to say.
            clause = re.sub(rf"{re.escape(self.url)}/\S+", self.url, str(error)).removesuffix(".")
            clause = masked(clause)  # the service's URL may have a password
            self.tell(f"The store fails ({clause}): it is tried again for {most:g} s at most.")

    def _answered(self) -> None:
        if self._told:
            with self._lock:
                told, self._told = self._told, False
            if told:
                self.tell("The store answers again.")


def rest(seconds: float, over: Callable[[], object]) -> bool:
    """Sleeps for `seconds`; returns False, at once, if `over` gives a true answer meanwhile."""
    end = time.monotonic() + seconds
    while not over():
        if (left := end - time.monotonic()) <= 0:
            return True
        time.sleep(min(left, _LOOK))
    return False


class PatientStore(Store):
    """A store whose objects are asked for and written again while it fails, as long as a Patience allows.

    `reach` is repeated only where the service answers that it can't now: it is there to fail. `check` is not repeated
    where the service refuses.
    """

    def __init__(self, store: Store, patience: Patience) -> None:
        self.url = store.url
        self._store, self._patience = store, patience

    def __reduce__(self) -> tuple[type["PatientStore"], tuple[Store, Patience]]:
        return PatientStore, (self._store, self._patience)

    def attempted(self, attempt: Callable[[Store], T]) -> T:
        return self._patience(lambda: attempt(self._store))

    def holds(self, key: str, *, sha256: str, size: int) -> bool:
        return self._patience(lambda: self._store.holds(key, sha256=sha256, size=size))

    def exists(self, key: str) -> bool:
        return self._patience(lambda: self._store.exists(key))

    def list(self, prefix: str = "") -> list[str]:
        return self._patience(lambda: self._store.list(prefix))

    def delete(self, key: str) -> None:
        self._patience(lambda: self._store.delete(key))

    def remove_folder(self, prefix: str) -> None:
        self._store.remove_folder(prefix)

    def read_pointer(self, key: str) -> tuple[bytes | None, Token]:
        return self._patience(lambda: self._store.read_pointer(key))

    def swap_pointer(self, key: str, data: bytes, token: Token) -> bool:
        tried = False

        def swap() -> bool:
            nonlocal tried
            if tried:  # it may have succeeded, and only its answer been lost
                found, now = self._store.read_pointer(key)
                if now != token:
                    return found == data
            tried = True
            return self._store.swap_pointer(key, data, token)

        return self._patience(swap)

    def reach(self) -> None:
        try:
            self._store.reach()
        except StoreBusy:
            self._patience(self._store.reach)

    def lacks(self) -> str:
        return self._patience(self._store.lacks)

    def describe_service(self) -> tuple[Row, ...]:
        return self._store.describe_service()

    def check(self, write: bool = True) -> None:
        try:
            self._store.check(write)
        except (StoreRefuses, StoreLacks):
            raise
        except StoreError:
            self._patience(lambda: self._store.check(write))

    def shares_disk_with(self, folder: Path) -> bool:
        return self._store.shares_disk_with(folder)

    def _create(self, key: str, content: Content) -> bool:
        return self._patience(lambda: self._store._create(key, content))

    def _read(self, key: str, file: IO[bytes]) -> None:
        def read() -> None:
            file.seek(0)
            file.truncate()
            self._store._read(key, file)

        self._patience(read)


def reached(store: Store, seconds: float) -> PatientStore:
    """Returns a store that was reached once, and that waits for `seconds` when it fails from then on.

    A service that answers that it can't now is waited for at once; one that can't be reached may be the wrong one.

    Raises:
        StoreError: within about ten seconds, if it can't be reached, or refuses.
    """
    patient = PatientStore(store, Patience(store.url, seconds))
    patient.reach()
    return patient
