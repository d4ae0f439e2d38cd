"""A command that is watched while it runs, so that something can happen at a moment of it, and that can't hang."""

import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil

from benchmarks.faults.project import REPRO, Project

LIMIT_S = 900.0
"""Seconds after which a command counts as hanging."""


class Line(NamedTuple):
    """A line that a command printed."""

    at: float
    """Seconds since its start."""
    text: str


class Running:
    """A command of a project, started."""

    def __init__(self, project: Project, command: Sequence[str] = REPRO) -> None:
        self.began = time.monotonic()
        self.lines: list[Line] = []
        self.process = subprocess.Popen(
            command,
            cwd=project.root,
            env=project.here.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._changed = threading.Condition()
        self._over = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def printed(self) -> str:
        """All that it has printed so far."""
        return "\n".join(line.text for line in self.lines)

    def wait_for(self, words: str, seconds: float = LIMIT_S) -> bool:
        """Waits for a line with these words; False if the command ends, or so much time passes, without one."""
        with self._changed:
            seen = self._changed.wait_for(lambda: self._has(words) or self._over, seconds)
            return bool(seen) and self._has(words)

    def family(self) -> list[psutil.Process]:
        """The processes of the command, itself first, that run at this moment."""
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def end(self, seconds: float = LIMIT_S) -> int | None:
        """Waits for its end; returns the exit status, or None if it hung: it is killed then, with all it started."""
        try:
            status: int | None = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill(self.family())
            status = None
        self._listener.join(10)  # what it started may still hold the pipe
        return status

    def kill(self, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
        """Sends SIGKILL to processes of its family, and waits until they are gone; returns those that it met alive."""
        met = []
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    met.append(process)
        own = [process for process in processes if process.pid == self.process.pid]
        if own:
            self.process.wait()  # psutil would take the exit status away
        psutil.wait_procs([process for process in processes if process not in own], timeout=20)
        return met

    def _has(self, words: str) -> bool:
        return any(words in line.text for line in self.lines)

    def _listen(self) -> None:
        assert self.process.stdout
        with self.process.stdout as printed:
            for text in printed:
                with self._changed:
                    self.lines.append(Line(time.monotonic() - self.began, text.rstrip("\n")))
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()
