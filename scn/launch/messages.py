"""Messages between the driver of a run on Ray and its workers."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scn.training.callbacks import Event


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


Message = Event | WasStopped | HasFailed

LOOK_SECONDS = 1.0
"""Seconds between two looks of a worker for the request to stop."""


class Mailbox:
    """A Ray actor that takes messages of the workers to the driver, and the driver's request to stop to the workers.

    It outlives the workers: one that takes the place of a killed one still learns of a request or a failure.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.news, self.asked = asyncio.Event(), asyncio.Event()
        self.why, self.failed = "", False

    async def tell(self, message: Message) -> None:
        """Adds a message to the driver; called by a worker."""
        self.messages.append(message)
        self.failed |= isinstance(message, HasFailed)
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

    async def has_failed(self) -> bool:
        """Returns True if a worker has sent HasFailed; called by a worker."""
        return self.failed


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
