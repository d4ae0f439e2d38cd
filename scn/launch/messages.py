"""What the driver of a run on Ray and its workers have to say to each other."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scn.training.callbacks import Event


@dataclass(frozen=True)
class WasStopped:
    """A worker did what it was asked and stopped; `sentence` is that of Stopped."""

    sentence: str


@dataclass(frozen=True)
class HasFailed:
    """A worker has met what no restart mends; `sentence` is that of the UserError."""

    sentence: str


Message = Event | WasStopped | HasFailed

LOOK_SECONDS = 1.0
"""A worker looks for the order to stop this often."""


class Mailbox:
    """A Ray actor that workers tell of the run, and that hears from the driver when it is to stop.

    It outlives the workers: those that take the place of killed ones find what was said before.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.news, self.asked = asyncio.Event(), asyncio.Event()
        self.why, self.failed = "", False

    async def tell(self, message: Message) -> None:
        """From a worker."""
        self.messages.append(message)
        self.failed |= isinstance(message, HasFailed)
        self.news.set()

    async def hear(self, seconds: float) -> list[Message]:
        """For the driver: the next messages, waiting for `seconds` at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.news.wait(), seconds)
        self.news.clear()
        messages, self.messages = self.messages, []
        return messages

    async def ask_to_stop(self, why: str) -> None:
        """From the driver."""
        self.why = why
        self.asked.set()

    async def asked_to_stop(self) -> str:
        """For a worker: why it should stop, as soon as it should."""
        await self.asked.wait()
        return self.why

    async def has_failed(self) -> bool:
        """For a worker: whether one has met what no restart mends."""
        return self.failed


class Order:
    """Why a worker should stop, or nothing; to be called after each step, which costs it next to nothing.

    Args:
        mailbox: the handle of the actor.
    """

    def __init__(self, mailbox: Any) -> None:
        self._answer = mailbox.asked_to_stop.remote()
        self._next = 0.0

    def __call__(self) -> str:
        if (now := time.monotonic()) < self._next:
            return ""
        import ray

        self._next = now + LOOK_SECONDS
        ready, _ = ray.wait([self._answer], timeout=0)
        return str(ray.get(self._answer)) if ready else ""
