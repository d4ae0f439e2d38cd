"""A replica of the page's networks on a node of a Ray cluster, as a deployment of Ray Serve."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from ray import serve
from torch import Tensor, nn

from scn.core.errors import UserError
from scn.core.memory import ran_out
from scn.core.nodes import refusal
from scn.inference.batch import NothingToRestore
from scn.inference.precision import Precision, autocast, exact
from scn.registry.several import Packed
from scn.serving.work import Restored, Restorer, Wanted

TOGETHER = 8
"""So many photographs are computed as one batch at most, where a replica has a GPU."""
_MOMENT_S = 0.01
"""The first one of a batch waits so long for others."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last thing that a replica tells of a photograph."""

    result: Restored | Exception
    rates: Mapping[str, float]
    """What Restorer.rates has learnt."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One image on its way through a network."""

    network: nn.Module
    images: Tensor
    precision: Precision


class _GivenUp(Exception):  # noqa: N818 - it was asked for
    pass


class Replica:
    """Restores photographs, several at a time where it has a GPU: those of one size in one batch."""

    def __init__(self, threads: int, together: int, needed: dict[str, str]) -> None:
        """Loads nothing yet.

        Args:
            threads: that compute.
            together: so many photographs are restored at a time at most.
            needed: what the node must have in common with the page's process, see scn.core.nodes.
        """
        self._refusal = refusal(needed)
        self._together = together
        self._restorers: dict[str, Restorer] = {}
        self._lock = threading.Lock()
        torch.set_num_threads(threads)
        self._exact = ExitStack()  # kept, as what is freed is left: it is one setting for all threads
        self._exact.enter_context(exact())
        # Of its own: Ray Serve's loop has a few threads alone, and those who wait for a batch would leave it none.
        self._working, self._batching = ThreadPoolExecutor(together + 1), ThreadPoolExecutor(1)

    async def refusal(self) -> UserError | None:
        """Why this node can't be used; None if it can."""
        return self._refusal

    async def restore(self, data: bytes, wanted: Wanted, key: str, packed: Packed) -> AsyncIterator[float | Ended]:
        """Yields the part that is done, now and then, and what became of the photograph; ended early, it gives up.

        Args:
            data, wanted: as for Restorer.restore; the models are named.
            key: what the models are called here.
            packed: the models.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[float | Ended] = asyncio.Queue()
        given_up = threading.Event()

        def tell(event: float | Ended) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        def progress(part: float) -> None:
            if given_up.is_set():
                raise _GivenUp
            tell(part)

        def work() -> None:
            result: Restored | Exception
            rates: Mapping[str, float] = {}
            try:
                restorer = self._restorer(key, packed, loop)
                result, rates = restorer.restore(data, wanted, progress), restorer.rates
            except (UserError, NothingToRestore, MemoryError) as error:
                result = error
            except Exception as error:  # others may not survive the way to another process
                result = RuntimeError(str(error))
            tell(Ended(result=result, rates=dict(rates)))

        working = loop.run_in_executor(self._working, work)
        try:
            event: float | Ended = 0.0
            while not isinstance(event, Ended):
                event = await events.get()
                yield event
            await working
        finally:
            given_up.set()

    async def measure(self, reference: str, key: str, packed: Packed) -> float | None:
        """Seconds for a megapixel, as Restorer.measure finds them."""
        loop = asyncio.get_running_loop()
        restorer = await loop.run_in_executor(self._working, self._restorer, key, packed, loop)
        await loop.run_in_executor(self._working, restorer.measure, reference)
        return restorer.rates.get(reference)

    def _restorer(self, key: str, packed: Packed, loop: asyncio.AbstractEventLoop) -> Restorer:
        if self._refusal:
            raise self._refusal
        with self._lock:
            if key not in self._restorers:
                models = packed.unpack()
                if self._together > 1:
                    for model in models.loaded.values():
                        model.apply_through(self._collected(model.network, loop))
                self._restorers[key] = Restorer(models=models)
            return self._restorers[key]

    def _collected(self, network: nn.Module, loop: asyncio.AbstractEventLoop) -> Callable[[Tensor], Tensor]:
        """Waits in a thread for what a batch of several threads' images gives."""

        def applied(images: Tensor) -> Tensor:
            asked: Precision = "bfloat16" if torch.is_autocast_enabled(images.device.type) else "float32"
            one = Pass(network=network, images=images, precision=asked)
            future: Future[Tensor | Exception] = asyncio.run_coroutine_threadsafe(self._apply(one), loop)
            result = future.result()
            if isinstance(result, Exception):
                raise result
            return result

        return applied

    @serve.batch(max_batch_size=TOGETHER, batch_wait_timeout_s=_MOMENT_S)
    async def _apply(self, passes: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._batching, in_batches, passes)


def in_batches(passes: Sequence[Pass]) -> list[Tensor | Exception]:
    """Applies networks to images, those of one network, size and precision as one batch.

    Where memory does not suffice for the batch, each of its images is computed alone.
    """
    alike: dict[Any, list[int]] = defaultdict(list)
    for number, each in enumerate(passes):
        alike[id(each.network), each.images.shape[1:], each.images.dtype, each.precision].append(number)
    results: dict[int, Tensor | Exception] = {}
    for numbers in alike.values():
        images = [passes[number].images for number in numbers]
        run = partial(_run, passes[numbers[0]])
        try:
            parts: Sequence[Tensor | Exception] = run(torch.cat(images)).split([len(each) for each in images])
        except Exception as error:
            parts = [error] if len(images) == 1 else [_alone(run, each, error) for each in images]
        results.update(zip(numbers, parts, strict=True))
    return [results[number] for number in range(len(passes))]


def _alone(run: Callable[[Tensor], Tensor], images: Tensor, error: Exception) -> Tensor | Exception:
    if not ran_out(error):
        return error
    try:
        return run(images)
    except Exception as still:
        return still


def _run(like: Pass, images: Tensor) -> Tensor:
    with torch.inference_mode(), exact(), autocast(images.device, like.precision):
        result = like.network(images)
    return result
