"""Messages between the driver of a run on Ray and its workers."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from scn.training.callbacks import Event


@dataclass(frozen=True)
class Joined:
    """Message of a worker that has been started and can reach all others."""

    rank: int
    node: str
    """Address of the worker's machine."""
    node_id: str
    """Ray's name of that machine."""

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node}"


@dataclass(frozen=True)
class WasStopped:
    """Message of a worker that has stopped, as it was asked to."""

    sentence: str
    """The message of the Stopped that ended its loop."""


@dataclass(frozen=True)
class HasFailed:
    """Message of a worker that has met an error which no restart mends."""

    sentence: str
    """The message of the UserError."""


Message = Event | Joined | WasStopped | HasFailed

LOOK_SECONDS = 1.0
"""Seconds between two looks of a worker for the request to stop."""
BEAT_SECONDS = 5.0
"""Seconds between two signs of life of a worker."""


class Mailbox:
    """A Ray actor that takes messages of the workers to the driver, and the driver's request to stop to the workers.

    Each group of workers has one of its own, so that none hears what was meant for those before it.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.news, self.asked = asyncio.Event(), asyncio.Event()
        self.why = ""
        self.beats: dict[int, float] = {}

    async def tell(self, message: Message) -> None:
        """Adds a message to the driver; called by a worker."""
        self.messages.append(message)
        self.news.set()

    async def hear(self, seconds: float) -> list[Message]:
        """Returns the messages since the last call, waiting for `seconds` at most; called by the driver."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.news.wait(), seconds)
        self.news.clear()
        messages, self.messages = self.messages, []
        return messages

    async def ask_to_stop(self, why: str) -> None:
        """Asks the workers to stop, for the reason `why`; called by the driver."""
        self.why = why
        self.asked.set()

    async def asked_to_stop(self) -> str:
        """Waits for the request to stop and returns its reason; called by a worker."""
        await self.asked.wait()
        return self.why

    async def beat(self, rank: int) -> None:
        """Notes that the worker `rank` is alive; called by it every BEAT_SECONDS."""
        self.beats[rank] = time.monotonic()

    async def leave(self, rank: int) -> None:
        """Notes that the worker `rank` ends, and so will not answer any more; called by it."""
        self.beats.pop(rank, None)

    async def silent(self, seconds: float) -> dict[int, float]:
        """Returns the ranks that have given no sign of life for `seconds`, and for how long; called by the driver."""
        now = time.monotonic()
        return {rank: now - beat for rank, beat in self.beats.items() if now - beat > seconds}


class Order:
    """Looks for the driver's request to stop; cheap enough to be called in each step.

    Args:
        mailbox: the handle of the actor Mailbox.
    """

    def __init__(self, mailbox: Any) -> None:
        self._answer = mailbox.asked_to_stop.remote()
        self._next = 0.0

    def __call__(self) -> str:
        """Returns why the worker should stop, or an empty string."""
        if (now := time.monotonic()) < self._next:
            return ""
        import ray

        self._next = now + LOOK_SECONDS
        ready, _ = ray.wait([self._answer], timeout=0)
        return str(ray.get(self._answer)) if ready else ""


@contextmanager
def signs_of_life(mailbox: Any, rank: int) -> Iterator[None]:
    """Lets a thread of this worker tell the driver every BEAT_SECONDS that it is alive.

    Args:
        mailbox: the handle of the actor Mailbox.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.is_set():
            mailbox.beat.remote(rank)
            over.wait(BEAT_SECONDS)

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        mailbox.leave.remote(rank)
