"""The mailbox between driver and workers, without Ray; and how often a worker looks into it."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from scn.launch.messages import HasFailed, Mailbox, Order
from scn.training.callbacks import Logged, Resumed, Saved


def test_messages_come_once_and_in_order() -> None:
    async def talk() -> None:
        mailbox = Mailbox()
        assert await mailbox.hear(0) == []
        await mailbox.tell(Resumed(5))
        await mailbox.tell(Logged({"step": 6, "loss": 0.5}))
        assert await mailbox.hear(60) == [Resumed(5), Logged({"step": 6, "loss": 0.5})]
        assert await mailbox.hear(0) == []

    asyncio.run(talk())


def test_the_driver_hears_at_once_and_every_worker_is_told_to_stop() -> None:
    async def talk() -> None:
        mailbox = Mailbox()
        hearing = asyncio.ensure_future(mailbox.hear(60))
        killed, alive = (asyncio.ensure_future(mailbox.asked_to_stop()) for _ in range(2))
        await asyncio.sleep(0)
        assert not alive.done()
        await mailbox.tell(Logged({"step": 2}))
        assert await hearing == [Logged({"step": 2})]
        await mailbox.ask_to_stop("SIGTERM")
        assert [await killed, await alive, await mailbox.asked_to_stop()] == ["SIGTERM"] * 3

    asyncio.run(talk())


def test_who_takes_the_place_of_a_killed_worker_learns_that_another_has_failed() -> None:
    async def talk() -> None:
        mailbox = Mailbox()
        await mailbox.tell(Saved(5))
        assert not await mailbox.has_failed()
        await mailbox.tell(HasFailed("The shard is damaged."))
        assert await mailbox.has_failed()

    asyncio.run(talk())


def test_a_worker_looks_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    now, looks, ready = [100.0], [0], list[str]()

    def wait(references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        looks[0] += 1
        return ready, []

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", lambda reference: f"the answer to {reference}")
    mailbox = SimpleNamespace(asked_to_stop=SimpleNamespace(remote=lambda: "a question"))
    order = Order(mailbox)
    assert [order() for _ in range(1000)] == [""] * 1000
    assert looks == [1]
    ready.append("a question")
    now[0] += 1
    assert order() == "the answer to a question"
    assert looks == [2]
