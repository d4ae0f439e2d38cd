"""A lease: the right to work on what only one process at a time may work on, as a pointer in the store.

Who holds a lease refreshes it. A lease that has not moved for LASTS_SECONDS of one's own clock may be taken: clocks of
other machines play no part. If its holder was a process of this machine that is no longer there, it may be taken at
once.

While it is held there is a pointer, which nobody but its holder removes: a holder that finds none has lost the lease,
to a process that has taken it and given it back since.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple

from psutil import pid_exists

from scn.core.errors import Stopped, UserError
from scn.core.processes import kernel, started
from scn.core.who import user
from scn.storage.base import Store, StoreError, Token

REFRESH_SECONDS = 15.0
"""Seconds between two refreshes of a lease that is held."""
LASTS_SECONDS = 120.0
"""Seconds without a refresh after which another process may take a lease."""
LOOK_SECONDS = 2.0
"""Seconds between two looks of a process that waits for a lease."""
_ATTEMPTS = 10


class LeaseLost(UserError):  # noqa: N818 - what happened
    """The lease that this process held is another's, or gone."""


class Holder(NamedTuple):
    """Who holds a lease."""

    id: str
    """Names one taking of the lease, and no other."""
    host: str
    user: str
    pid: int
    since: str
    """Time of the taking by the holder's clock, for people."""
    kernel: str
    """Names the running kernel and the process namespace, in which alone `pid` means something; "" if not known."""
    started: str
    """When the process was started, by the kernel's clock: a later process of the same pid has another."""

    @classmethod
    def of_this_process(cls, id: str) -> "Holder":
        """Returns the holder that this process is."""
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        pid = os.getpid()
        return cls(id, socket.gethostname(), user(), pid, since, kernel(), started(pid))

    @classmethod
    def parse(cls, data: bytes) -> "Holder":
        """Reads what a lease holds; a holder without properties if that is not known."""
        about: dict[str, Any] = {}
        with suppress(ValueError, TypeError):
            about = dict(json.loads(data))
        text = {key: str(about.get(key, "")) for key in cls._fields}
        return cls(**{**text, "pid": int(text["pid"]) if text["pid"].isdecimal() else 0})  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host} since {self.since}" if self.pid else "someone"

    @property
    def is_here(self) -> bool:
        """True if the holder is, or was, a process that this one would see."""
        return bool(self.kernel) and self.kernel == kernel()

    @property
    def is_dead(self) -> bool:
        """True if the holder surely runs no more: it would be seen here, and is not."""
        if not self.is_here:
            return False
        found = started(self.pid)
        return found != self.started if found else not pid_exists(self.pid)


class Lease:
    """The lease `key` of a store; as a context, it is refreshed by a thread and given back at the end."""

    def __init__(self, store: Store, key: str, *, what: str, id: str | None = None) -> None:
        """Names a lease; nobody holds it by that.

        Args:
            what: what its holder may work on, as the subject of messages: "The run of sr-x2".
            id: names this holding of the lease, as `check_lease` asks for it; None: a new one.
        """
        self.id = id or uuid.uuid4().hex
        self._store, self._key, self._what = store, key, what
        self._record = Holder.of_this_process(self.id)._asdict()
        self._beats = 0
        self._lost: LeaseLost | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)

    def take(self, tell: Callable[[str], object], stopping: Callable[[], str] = lambda: "") -> None:
        """Takes the lease; waits LASTS_SECONDS at most for a holder that may run no more.

        Args:
            tell: is called with a sentence if it has to wait.
            stopping: returns why the wait should end, or an empty string.
        Raises:
            UserError: if the holder is at work: the message says who it is, and since when.
            Stopped: as `stopping` asked for.
            StoreError: if the store fails, or does not let the lease move.
        """
        seen: Token = None
        since, refused = 0.0, 0
        while True:
            data, token = self._store.read_pointer(self._key)
            holder = Holder.parse(data) if data is not None else None
            silent = token == seen and time.monotonic() - since >= LASTS_SECONDS
            if not holder or holder.is_dead or silent:
                if self._move(token):
                    if holder and silent:
                        tell(f"{self._what} is taken over, as {holder} has shown no life for {LASTS_SECONDS:g} s")
                    return
                refused += 1
                if refused == _ATTEMPTS:
                    raise StoreError(f"{self._store.url}/{self._key} can't be moved: delete it and start again.")
                continue
            if holder.is_here or (seen and token != seen):
                raise UserError(
                    f"{self._what} is held by {holder}: wait for its end, or stop it there and start this one again."
                )
            if not seen:
                seen, since = token, time.monotonic()
                tell(f"{self._what} is held by {holder}: waits {LASTS_SECONDS:g} s at most to see whether that lives")
            if why := stopping():
                raise Stopped(f"{self._what} was stopped before it began ({why}); the same command starts it again")
            time.sleep(LOOK_SECONDS)

    def check(self) -> None:
        """Raises LeaseLost if the last refresh has found that the lease is another's, or gone; reads nothing."""
        if self._lost:
            raise self._lost

    def refresh(self) -> None:
        """Shows that this process is at work; takes note if the lease is another's, or gone.

        Raises:
            StoreError: if the store fails.
        """
        data, token = self._store.read_pointer(self._key)
        if lost := _lost(data, self.id, self._what, f"{self._store.url}/{self._key}"):
            self._lost = lost
        else:
            self._move(token)  # if it has moved or gone meanwhile, the next refresh sees that

    def give_back(self) -> None:
        """Lets the next process take the lease at once, unless another one has it already."""
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join(LOOK_SECONDS)  # longer only where the store hangs
        with suppress(StoreError):  # then it ends by itself
            data, token = self._store.read_pointer(self._key)
            # No store deletes on a condition; but what has just moved can't be taken by another one.
            if data is not None and Holder.parse(data).id == self.id and self._move(token):
                self._store.delete(self._key)

    def __enter__(self) -> "Lease":
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()

    def _move(self, token: Token) -> bool:
        self._beats += 1
        return self._store.swap_pointer(self._key, json.dumps({**self._record, "beat": self._beats}).encode(), token)

    def _keep(self) -> None:
        while not self._over.wait(REFRESH_SECONDS) and not self._lost:
            with suppress(StoreError):  # who can't reach the store can't do harm there
                self.refresh()


def check_lease(store: Store, key: str, id: str, what: str) -> None:
    """Raises LeaseLost unless `id` holds the lease `key`; StoreError if the store fails."""
    if lost := _lost(store.read_pointer(key)[0], id, what, f"{store.url}/{key}"):
        raise lost


def _lost(data: bytes | None, id: str, what: str, place: str) -> LeaseLost | None:
    """The error of a holder that finds `data` in the pointer at `place`; None if it is still its own."""
    if data is None:
        return LeaseLost(
            f"{what} is not held by this process any more, as {place} is gone: another process took it over and has "
            "ended, or somebody deleted it; this one ends, and the same command goes on from the last checkpoint."
        )
    holder = Holder.parse(data)
    if holder.id == id:
        return None
    return LeaseLost(
        f"{what} was taken over by {holder}, as this process had not reached the store for {LASTS_SECONDS:g} s: this "
        "one ends, and the other goes on from the last checkpoint."
    )
