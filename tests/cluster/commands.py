"""A command on a machine, watched while it runs."""

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
from machines import Machine

T = TypeVar("T")


class Command:
    """A command on a machine, and what it has printed so far."""

    def __init__(
        self, machine: Machine, words: Sequence[str | Path], variables: Mapping[str, str], inside: str = "."
    ) -> None:
        self.lines: list[tuple[float, str]] = []
        """Time in seconds since the epoch and text of each line, of both outputs."""
        self._words = words
        self._process = machine.start(words, variables, inside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *raised: object) -> None:
        if self.running:  # a test has failed
            for process in psutil.Process(self._process.pid).children(recursive=True):
                process.kill()
        self._process.wait()
        self._listener.join()

    @property
    def running(self) -> bool:
        """True until the command ends."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Sends the command SIGTERM."""
        for process in psutil.Process(self._process.pid).children():
            process.terminate()

    @property
    def printed(self) -> str:
        """All that it has printed."""
        return "\n".join(text for _, text in self.lines)

    def told(self, since: float, until: float, *words: str) -> list[str]:
        """The lines of these times, in seconds since the epoch, that have all of the words in them."""
        return [text for at, text in self.lines if since < at < until and all(word in text for word in words)]

    def wait_for(self, condition: Callable[[], T], seconds: float = 900) -> T:
        """Waits until `condition` is met while the command runs, and returns what it then returned."""
        end = time.monotonic() + seconds
        while not (met := condition()):
            assert self.running, f"{self._words} ended with {self._process.returncode} too early:\n{self.printed}"
            assert time.monotonic() < end, f"{self._words} has not come so far in {seconds} s:\n{self.printed}"
            time.sleep(0.2)
        return met

    def end(self, seconds: float = 1800, status: int = 0) -> None:
        """Waits for the end of the command, which must have this exit status."""
        try:
            ended = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._words} has not ended in {seconds} s:\n{self.printed}") from None
        self._listener.join()
        assert ended == status, f"{self._words} ended with {ended}:\n{self.printed}"

    def _listen(self) -> None:
        assert self._process.stdout
        with self._process.stdout as printed:
            for line in printed:
                self.lines.append((time.time(), line.rstrip("\n")))
