"""The jobs of the page: a queue that takes turns among its users, a worker for each device, and files on disk."""

import math
import secrets
import shutil
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from scn.core.errors import UserError
from scn.core.masking import masked
from scn.inference.batch import NothingToRestore
from scn.serving.work import Header, Progress, Restored, Wanted
from scn.storage.base import ObjectNotFound, StoreError


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    NOTHING = "nothing"
    """There is nothing to restore in the photograph."""
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (State.DONE, State.NOTHING, State.FAILED, State.CANCELLED)


AWAY = "The models that are published can't be looked up now: try again later."
"""What strangers hear of a StoreError, which names places: those are for the log."""
_AGAIN_S = 60.0
"""After so long the store is asked again for models whose rate could not be measured, as it was away."""
_KEPT = 256
"""So many results are kept at most, the newest ones."""


class Full(Exception):  # noqa: N818 - it passes
    """There are as many jobs as there may be; the message says so."""


class _Cancelled(Exception):  # noqa: N818 - it was asked for
    pass


class Worker(Protocol):
    """What restores; scn.serving.work.Restorer does it here."""

    def restore(self, data: bytes, wanted: Wanted, progress: Progress) -> Restored: ...
    def measure(self, reference: str) -> None: ...
    def seconds(self, wanted: Wanted, pixels: int) -> float | None: ...


@dataclass(kw_only=True, eq=False)
class Job:
    """One photograph on its way."""

    wanted: Wanted
    header: Header
    owner: str
    """Whose turn it counts as."""
    folder: Path
    """Holds `input`, and when it is done `result`, `before.png` and `after.png`."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    """Can't be guessed: who knows it may see the photograph."""
    state: State = State.QUEUED
    progress: float = 0.0
    message: str = ""
    """Why it failed, or what was found."""
    by: str = ""
    width: int = 0
    height: int = 0
    """Pixels of the result."""
    started: float = 0.0
    ended: float = 0.0
    """Seconds of time.monotonic."""
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def pixels(self) -> int:
        """Pixels of the input."""
        return self.header.width * self.header.height


class Jobs:
    """All jobs of this process. Every method may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        workers: Sequence[Worker],
        *,
        most: int = 64,
        keep_s: float = 3600.0,
        measured: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        """Starts a thread for each worker.

        Args:
            folder: jobs have folders of their own in it.
            workers: one for each device; a job goes to the first that is free.
            most: so many jobs wait at most.
            keep_s: results are deleted so many seconds after they were made.
            measured: references of models whose rate is measured while there is nothing else to do.
        """
        self.folder, self.workers, self.most, self.keep_s = folder, workers, most, keep_s
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._turns: OrderedDict[str, list[Job]] = OrderedDict()
        """Owner -> their jobs that wait; the first owner is next."""
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(worker, measured), name=f"restore-{number}", daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def room(self) -> None:
        """Raises Full if no further job is taken now."""
        with self._changed:
            if sum(map(len, self._turns.values())) >= self.most:
                raise Full(f"{self.most} photographs wait already: try again in a while.")

    def submit(self, wanted: Wanted, header: Header, owner: str, file: Path) -> Job:
        """Puts a photograph into the queue, and moves its file into the job's folder.

        Raises:
            Full: if `most` jobs wait.
        """
        job = Job(wanted=wanted, header=header, owner=owner, folder=self.folder)
        with self._changed:
            self.room()
            job.folder = self.folder / job.id
            job.folder.mkdir(parents=True)
            file.replace(job.folder / "input")
            self._jobs[job.id] = job
            self._turns.setdefault(owner, []).append(job)
            self._changed.notify()
        return job

    def find(self, job_id: str) -> Job | None:
        """The job of this id; None if there is none, or no more."""
        self._forget_old()
        with self._changed:
            return self._jobs.get(job_id)

    def end(self, job_id: str) -> None:
        """Cancels a job that waits or runs; one that has ended is forgotten, with its files."""
        with self._changed:
            job = self._jobs.get(job_id)
            if job is None:
                return
            job.cancel.set()
            if job.state == State.QUEUED:
                self._unqueue(job)
                self._settle(job, State.CANCELLED)
            elif job.state in ENDED:
                self._forget(job)

    def ahead(self, job: Job) -> list[Job]:
        """The jobs that run, and those that will be started before this one, in their order."""
        with self._changed:
            running = [each for each in self._jobs.values() if each.state == State.RUNNING and each is not job]
            return running if job.state != State.QUEUED else [*running, *self._before(job)]

    def waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(map(len, self._turns.values()))

    def seconds_left(self, job: Job) -> float | None:
        """How long until a job is done; None while that is not known."""
        if job.state in ENDED:
            return 0.0
        own = self._alone(job)
        others = [self._alone(each) for each in self.ahead(job)] if job.state == State.QUEUED else []
        if own is None or None in others:
            return None
        return own + sum(each for each in others if each is not None) / len(self.workers)

    def close(self) -> None:
        """Cancels all jobs, ends the threads and deletes the files."""
        with self._changed:
            self._closed = True
            self._turns.clear()
            for job in self._jobs.values():
                job.cancel.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _alone(self, job: Job) -> float | None:
        """Seconds that are left of a job's own work."""
        if job.progress > 0.1:
            return (time.monotonic() - job.started) * (1 - job.progress) / job.progress
        try:
            return self.workers[0].seconds(job.wanted, job.pixels)
        except UserError:  # the registry can't be read: what was loaded before works on
            return None

    def _before(self, job: Job) -> list[Job]:
        """The jobs that wait before a job: turns go round the owners."""
        queues, found = [list(queue) for queue in self._turns.values()], list[Job]()
        while any(queues):
            for queue in queues:
                if queue:
                    first = queue.pop(0)
                    if first is job:
                        return found
                    found.append(first)
        return found

    def _next(self, until: float) -> Job | None:
        """The next job; None if none has come until then, in seconds of time.monotonic, or this is closed."""
        with self._changed:
            while not self._turns and not self._closed and (left := until - time.monotonic()) > 0:
                self._changed.wait(timeout=min(60.0, left))
                self._forget_old()
            if not self._turns or self._closed:
                return None
            owner, queue = self._turns.popitem(last=False)
            job = queue.pop(0)
            if queue:
                self._turns[owner] = queue  # behind the others
            job.state, job.started = State.RUNNING, time.monotonic()
            return job

    def _unqueue(self, job: Job) -> None:
        queue = self._turns[job.owner]
        queue.remove(job)
        if not queue:
            del self._turns[job.owner]

    def _work(self, worker: Worker, measured: Callable[[], Sequence[str]]) -> None:
        unknown: list[str] | None = None
        away, until = False, 0.0
        while True:
            if job := self._next(until):
                self._run(worker, job)
                continue
            if self._closed:
                return
            try:
                unknown = list(measured()) if unknown is None else unknown
                if unknown:
                    worker.measure(unknown.pop(0))
            except Exception as error:  # is told to whoever asks for that model; jobs must be served, whatever happens
                passes = isinstance(error, StoreError) and not isinstance(error, ObjectNotFound)
                away = away or passes or unknown is None
            # What is away may come back, but to ask takes seconds, in which no job is begun.
            if unknown:
                until = 0.0
            elif away:
                unknown, away, until = None, False, time.monotonic() + _AGAIN_S
            else:
                until = math.inf

    def _run(self, worker: Worker, job: Job) -> None:
        def progress(part: float) -> None:
            if job.cancel.is_set():
                raise _Cancelled
            job.progress = part

        try:
            progress(0.0)
            restored = worker.restore((job.folder / "input").read_bytes(), job.wanted, progress)
            progress(1.0)
            for name, data in (
                ("result", restored.result),
                ("before.png", restored.before),
                ("after.png", restored.after),
            ):
                (job.folder / name).write_bytes(data)
            job.width, job.height, job.by = restored.width, restored.height, restored.by
            self._settle(job, State.DONE, restored.found)
        except _Cancelled:
            self._settle(job, State.CANCELLED)
        except NothingToRestore as found:
            self._settle(job, State.NOTHING, str(found))
        except StoreError as error:
            print(masked(str(error)), file=sys.stderr)
            self._settle(job, State.FAILED, AWAY)
        except UserError as error:
            self._settle(job, State.FAILED, str(error))
        except MemoryError:
            self._settle(job, State.FAILED, f"{job.wanted.name} needs more memory than there is: cut it into parts.")
        except OSError as error:
            why = f"The disk does not take the result ({error.strerror}): make room on it."
            if not job.folder.is_dir():
                why = f"{job.wanted.name} was cleaned away before it was restored: send it again."
            self._settle(job, State.FAILED, why)
        except Exception as error:  # the next job must be served, whatever happens to this one
            self._settle(job, State.FAILED, f"{job.wanted.name} can't be restored ({error}): try another model.")

    def _settle(self, job: Job, state: State, message: str = "") -> None:
        with self._changed:
            if job.cancel.is_set():  # even when all was done but this
                state = State.CANCELLED
            job.state, job.message, job.ended = state, message, time.monotonic()
            (job.folder / "input").unlink(missing_ok=True)
            if state == State.CANCELLED:
                self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _forget_old(self) -> None:
        with self._changed:
            old = time.monotonic() - self.keep_s
            ended = sorted((each for each in self._jobs.values() if each.state in ENDED), key=lambda job: job.ended)
            for number, job in enumerate(reversed(ended)):
                if job.ended < old or number >= _KEPT:
                    self._forget(job)
