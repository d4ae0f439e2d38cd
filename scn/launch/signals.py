"""Stopping a run before its end: on a signal, or when its time is over."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Stopping:
    """Tells whether and why a run should stop now; a call costs no more than reading a clock.

    As a context in the main thread, where alone Python can handle signals, it notes SIGTERM (a pre-emption) and the
    first SIGINT (Ctrl-C); a second SIGINT interrupts as usual. A signal that the process was started to ignore stays
    ignored.
    """

    def __init__(self, minutes: float | None = None, check: Callable[[], None] = lambda: None) -> None:
        """Starts the clock for `minutes`; None: the time is not limited.

        Args:
            check: is called by every call of this object; it may raise an error that ends the run at once.
        """
        self._check = check
        self._minutes = minutes
        self._end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        self._signal = ""
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> str:
        """Returns why the run should stop: a signal's name or that its time is over; an empty string: it may go on."""
        self._check()
        if self._signal or time.monotonic() < self._end:
            return self._signal
        return f"{self._minutes:g} minutes are over"

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                    self._before[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in list(self._before):
            self._restore(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = self._signal or signal.Signals(number).name
        if number == signal.SIGINT:
            self._restore(signal.SIGINT)

    def _restore(self, number: signal.Signals) -> None:
        if (handler := self._before.pop(number, None)) is not None:
            signal.signal(number, handler)
