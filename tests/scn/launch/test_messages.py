"""The mailbox between driver and workers, without Ray; and how often a worker looks into it."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from scn.launch.messages import Mailbox, Order, signs_of_life
from scn.training.callbacks import Logged, Resumed


def test_messages_come_once_and_in_order() -> None:
    async def talk() -> None:
        mailbox, resumed = Mailbox(), Resumed(5, [{"step": 4, "loss": 0.75}])
        assert await mailbox.hear(0) == []
        await mailbox.tell(resumed)
        await mailbox.tell(Logged({"step": 6, "loss": 0.5}))
        assert await mailbox.hear(60) == [resumed, Logged({"step": 6, "loss": 0.5})]
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


def test_who_gives_no_sign_of_life_is_silent_until_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    async def talk() -> None:
        mailbox = Mailbox()
        for rank in (0, 1, 2):
            await mailbox.beat(rank)
        now[0] += 15
        await mailbox.beat(0)
        now[0] += 10
        assert await mailbox.silent(20) == {1: 25, 2: 25}
        await mailbox.leave(2)
        await mailbox.beat(1)
        assert await mailbox.silent(20) == {}

    asyncio.run(talk())


def test_a_worker_gives_signs_of_life_until_its_end() -> None:
    told: list[tuple[str, int]] = []

    def method(name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda rank: told.append((name, rank)))

    with signs_of_life(SimpleNamespace(beat=method("beat"), leave=method("leave")), 3):
        while not told:
            time.sleep(0.001)
    assert (told[0], told[-1]) == (("beat", 3), ("leave", 3))


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
