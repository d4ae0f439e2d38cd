"""The queue of the page: turns, limits, cancelling, and what becomes of files."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.inference.batch import NothingToRestore
from scn.serving.jobs import AWAY, ENDED, Full, Job, Jobs, State
from scn.serving.work import Header, Progress, Restored, Wanted
from scn.storage.base import ObjectNotFound, StoreError


class Worker:
    """Restores nothing; a job waits until it is let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def restore(self, data: bytes, wanted: Wanted, progress: Progress) -> Restored:
        self.started.append(wanted.name)
        while not self.go.acquire(timeout=0.01):
            progress(0.5)
        if self.error:
            raise self.error
        return Restored(result=data, before=b"b", after=b"a", width=2, height=1, by="test", found="")

    def measure(self, reference: str) -> None: ...

    def seconds(self, wanted: Wanted, pixels: int) -> float | None:
        return None if wanted.name == "unknown" else pixels


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def jobs(tmp_path: Path, worker: Worker) -> Iterator[Jobs]:
    made = Jobs(tmp_path / "jobs", [worker], most=4)
    yield made
    made.close()


@pytest.fixture
def submit(jobs: Jobs, tmp_path: Path) -> Callable[..., Job]:
    def submitted(name: str, owner: str = "") -> Job:
        file = tmp_path / "upload"
        file.write_bytes(name.encode())
        return jobs.submit(Wanted(name=name), Header(width=3, height=2), owner, file)

    return submitted


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 250
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_users_take_turns(jobs: Jobs, worker: Worker, submit: Callable[..., Job]) -> None:
    submit("first", "a")
    until(lambda: worker.started)
    made = [submit(name, name[0]) for name in ("a1", "a2", "a3", "b1")]
    assert [job.wanted.name for job in jobs.ahead(made[3])] == ["first", "a1"]
    assert [job.wanted.name for job in jobs.ahead(made[2])] == ["first", "a1", "b1", "a2"]
    worker.go.release(5)
    until(lambda: all(job.state == State.DONE for job in made))
    assert worker.started == ["first", "a1", "b1", "a2", "a3"]


def test_the_queue_has_an_end(jobs: Jobs, worker: Worker, submit: Callable[..., Job]) -> None:
    submit("runs")
    until(lambda: worker.started)
    waiting = [submit(str(number)) for number in range(4)]
    with pytest.raises(Full, match="4 photographs wait already"):
        submit("too many")
    jobs.end(waiting[0].id)
    assert submit("now").state == State.QUEUED


def test_a_result_is_kept_and_then_forgotten(jobs: Jobs, worker: Worker, submit: Callable[..., Job]) -> None:
    job = submit("a")
    worker.go.release()
    until(lambda: job.state in ENDED)
    assert (job.state, job.by, job.width) == (State.DONE, "test", 2)
    assert {path.name: path.read_bytes() for path in job.folder.iterdir()} == {
        "result": b"a",
        "before.png": b"b",
        "after.png": b"a",
    }
    assert jobs.find(job.id) is job
    jobs.keep_s = 0.0
    assert jobs.find(job.id) is None
    assert not job.folder.exists()


def test_only_the_newest_results_are_kept(
    jobs: Jobs, worker: Worker, submit: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scn.serving.jobs._KEPT", 2)
    made = []
    for name in ("a", "b", "c"):
        made.append(submit(name))
        worker.go.release()
        until(lambda: made[-1].state in ENDED)
    assert [jobs.find(job.id) for job in made] == [None, *made[1:]]


def test_a_job_that_waits_or_runs_is_cancelled(jobs: Jobs, worker: Worker, submit: Callable[..., Job]) -> None:
    runs = submit("runs")
    until(lambda: worker.started)
    waits, last = submit("waits"), submit("last")
    jobs.end(waits.id)
    jobs.end(runs.id)
    until(lambda: runs.state == State.CANCELLED)
    worker.go.release()
    until(lambda: last.state == State.DONE)
    assert worker.started == ["runs", "last"]
    assert [path.name for path in jobs.folder.iterdir()] == [last.id]


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (UserError("a is damaged: fetch it again."), State.FAILED, "a is damaged: fetch it again."),
        (StoreError("No answer from http://10.0.0.7: start it."), State.FAILED, AWAY),
        (NothingToRestore("no noise: nothing to restore"), State.NOTHING, "no noise: nothing to restore"),
        (MemoryError(), State.FAILED, "a needs more memory than there is: cut it into parts."),
        (OSError(28, "No space left on device"), State.FAILED, "No space left on device"),
        (ZeroDivisionError("by zero"), State.FAILED, "a can't be restored (by zero): try another model."),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_one_is_served(
    jobs: Jobs, worker: Worker, submit: Callable[..., Job], error: Exception, state: State, message: str
) -> None:
    worker.error = error
    job = submit("a")
    worker.go.release()
    until(lambda: job.state in ENDED)
    assert job.state == state
    assert message in job.message
    worker.error = None
    after = submit("b")
    worker.go.release()
    until(lambda: after.state == State.DONE)


def test_a_photograph_that_was_cleaned_away_while_it_waited_is_told_as_that(
    jobs: Jobs, worker: Worker, submit: Callable[..., Job]
) -> None:
    submit("a")
    until(lambda: worker.started)
    job = submit("b")
    shutil.rmtree(job.folder)
    worker.go.release()
    until(lambda: job.state in ENDED)
    assert (job.state, job.message) == (State.FAILED, "b was cleaned away before it was restored: send it again.")


def test_the_time_left_counts_what_comes_before(jobs: Jobs, worker: Worker, submit: Callable[..., Job]) -> None:
    runs = submit("runs")
    until(lambda: runs.progress == 0.5)
    runs.started = time.monotonic() - 10
    second, third, unknown = submit("second"), submit("third"), submit("unknown")
    assert jobs.seconds_left(runs) == pytest.approx(10, abs=2)  # half is done after 10 s
    assert jobs.seconds_left(second) == pytest.approx(16, abs=2)  # 6 pixels more
    assert jobs.seconds_left(third) == pytest.approx(22, abs=2)
    assert jobs.seconds_left(unknown) is None


def test_rates_are_measured_while_there_is_nothing_to_do(tmp_path: Path) -> None:
    measured: list[str] = []
    worker: Any = Worker()

    def measure(reference: str) -> None:
        measured.append(reference)
        if reference == "gone":
            raise UserError("gone is gone")

    worker.measure = measure
    jobs = Jobs(tmp_path / "jobs", [worker], measured=lambda: ["a", "gone", "b"])
    until(lambda: len(measured) == 3)
    jobs.close()
    assert measured == ["a", "gone", "b"]
    assert not jobs.folder.exists()


def test_a_rate_that_can_not_be_measured_keeps_nobody_waiting(tmp_path: Path) -> None:
    measured: list[str] = []
    worker: Any = Worker()

    def measure(reference: str) -> None:
        measured.append(reference)
        raise RuntimeError("out of memory")

    worker.measure = measure
    worker.go.release()
    jobs = Jobs(tmp_path / "jobs", [worker], measured=lambda: ["a", "b"])
    until(lambda: measured == ["a", "b"])
    (tmp_path / "upload").write_bytes(b"a photograph")
    job = jobs.submit(Wanted(name="a"), Header(width=3, height=2), "", tmp_path / "upload")
    until(lambda: job.state == State.DONE)
    assert (job.by, (job.folder / "result").read_bytes()) == ("test", b"a photograph")
    jobs.close()


def test_models_that_can_not_be_listed_keep_nobody_waiting(tmp_path: Path) -> None:
    listed: list[None] = []
    worker: Any = Worker()

    def models() -> list[str]:
        listed.append(None)
        raise OSError("Stale file handle")

    worker.go.release()
    jobs = Jobs(tmp_path / "jobs", [worker], measured=models)
    until(lambda: listed)
    (tmp_path / "upload").write_bytes(b"a photograph")
    job = jobs.submit(Wanted(name="a"), Header(width=3, height=2), "", tmp_path / "upload")
    until(lambda: job.state == State.DONE)
    assert (job.by, (job.folder / "result").read_bytes()) == ("test", b"a photograph")
    jobs.close()
    assert len(listed) == 1


def test_a_store_that_was_away_at_the_start_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.serving.jobs._AGAIN_S", 0.01)
    away = StoreError("No answer from s3://models: start the service.")
    listings = [away, ["a", "gone", "b"], ["a", "b"]]
    failing = {"a": [away], "gone": [ObjectNotFound("gone is gone")], "b": []}
    done: list[str] = []
    worker: Any = Worker()

    def models() -> list[str]:
        listed = listings.pop(0)
        if isinstance(listed, Exception):
            raise listed
        return listed

    def measure(reference: str) -> None:
        if failing[reference]:
            raise failing[reference].pop()
        done.append(reference)

    worker.measure = measure
    jobs = Jobs(tmp_path / "jobs", [worker], measured=models)
    until(lambda: len(done) == 3)
    jobs.close()
    assert (done, listings) == (["b", "a", "b"], [])  # those that are known are not measured again


def test_what_is_gone_for_good_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.serving.jobs._AGAIN_S", 0.0)
    asked: list[str] = []
    worker: Any = Worker()

    def measure(reference: str) -> None:
        asked.append(reference)
        raise ObjectNotFound("gone is gone")

    worker.measure = measure
    worker.go.release()
    jobs = Jobs(tmp_path / "jobs", [worker], measured=lambda: ["gone"])
    until(lambda: asked)
    (tmp_path / "upload").write_bytes(b"a photograph")
    job = jobs.submit(Wanted(name="a"), Header(width=3, height=2), "", tmp_path / "upload")
    until(lambda: job.state == State.DONE)
    jobs.close()
    assert asked == ["gone"]


def test_a_job_that_is_cancelled_when_all_but_writing_is_done_leaves_nothing(
    jobs: Jobs, worker: Worker, submit: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def cancels(path: Path, data: bytes) -> int:
        if path.name == "after.png":
            jobs.end(job.id)
        return write(path, data)

    job = submit("a")
    monkeypatch.setattr(Path, "write_bytes", cancels)
    worker.go.release()
    until(lambda: job.state in ENDED)
    assert (job.state, jobs.find(job.id), job.folder.exists()) == (State.CANCELLED, None, False)


def test_a_registry_that_can_not_be_read_ends_no_job(
    jobs: Jobs, worker: Worker, submit: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> float:
        raise UserError("No answer from s3://bucket: start the service.")

    monkeypatch.setattr(worker, "seconds", away)
    assert jobs.seconds_left(submit("a")) is None
