"""Why a stage that is at work should end: its run is cancelled or its process asked to end, or it takes too long.

Prefect's worker ends the process of a run that is cancelled. That is not enough: a run below another one is a thread
of its process, and for a run that is set to Cancelled at once nobody ends anything. So who waits for a stage asks here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from uuid import UUID

from prefect import get_client, runtime
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

ASK_SECONDS = 3.0
"""Seconds between two questions to Prefect's server."""
_END = ContextVar[Event | None]("scn_end", default=None)


class Cancelled(Exception):  # noqa: N818 - what happened, not what is wrong
    """The run is cancelled, or its process was asked to end; the message says which."""


class TookTooLong(Exception):  # noqa: N818
    """A stage takes longer than it may."""


@contextmanager
def runs_below() -> Iterator[None]:
    """Context of a flow whose other threads run flows: if an exception ends it, what they wait for ends, too."""
    end = Event()
    token = _END.set(end)
    try:
        yield
    except BaseException:
        end.set()
        raise
    finally:
        _END.reset(token)


class Ending:
    """Is called again and again while a stage is at work, and raises when it should end."""

    def __init__(self, hours: float) -> None:
        """Is made in the task of the stage, which may take so many `hours`."""
        self._hours, self._end = hours, _END.get()
        self._deadline = time.monotonic() + 3600 * hours
        self._asked = float("-inf")
        run = runtime.flow_run
        self._runs = [UUID(str(each)) for each in (run.id, run.parent_flow_run_id) if each]

    def __call__(self) -> None:
        """Raises Cancelled or TookTooLong if the stage should end."""
        if self._end is not None and self._end.is_set():
            raise Cancelled("The run above it has ended")
        if time.monotonic() > self._deadline:
            raise TookTooLong(f"took longer than {self._hours:g} hours")
        if time.monotonic() - self._asked >= ASK_SECONDS:
            self._asked = time.monotonic()
            if self._is_cancelled():
                raise Cancelled("It was cancelled")

    def _is_cancelled(self) -> bool:
        types = FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])
        about = FlowRunFilter(id=FlowRunFilterId(any_=self._runs), state=FlowRunFilterState(type=types))
        try:
            with get_client(sync_client=True) as client:
                return bool(client.read_flow_runs(flow_run_filter=about))
        except Exception:  # whatever Prefect's client raises: a server that is away ends nothing
            return False
