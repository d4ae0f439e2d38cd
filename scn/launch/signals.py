"""When a run is to stop before its end: on a signal, or when its time is over."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any


class Stopping:
    """Why the run should stop now, or nothing: answers whenever it is called, at the cost of reading a clock.

    SIGTERM (a pre-emption) and the first SIGINT (Ctrl-C) become an answer while it is entered, in the main thread,
    where alone Python can handle signals; a second SIGINT interrupts as ever. A signal that the process was started
    to ignore stays ignored.
    """

    def __init__(self, minutes: float | None = None) -> None:
        """The time, if it is limited, begins now."""
        self._minutes = minutes
        self._end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        self._signal = ""
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> str:
        """The signal's name, or that the time is over; empty as long as the run may go on."""
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
