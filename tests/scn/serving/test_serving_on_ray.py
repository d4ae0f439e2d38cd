"""The page's photographs restored by replicas of Ray Serve, on a cluster of this machine."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

pytest.importorskip("ray.serve", reason="Ray Serve is not installed: `pip install 'scn[serve]'` does that")

from scn.core.errors import UserError
from scn.core.ray import patiently, stop_ray
from scn.serving.cluster import Cluster, Remote, Scale
from scn.serving.jobs import ENDED, Job, Jobs, State
from scn.serving.work import Header, Restorer, Wanted

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


def photograph(side: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 3, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)), np.int16)


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def restorer(published_models: Path) -> Restorer:
    return Restorer("cpu", published_models)


@pytest.fixture(scope="module")
def ray_of_two_cpus() -> Iterator[None]:
    import ray

    stop_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patiently(lambda: ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False))
        yield
        ray.shutdown()


@pytest.fixture
def started(restorer: Restorer, ray_of_two_cpus: None) -> Iterator[Callable[[Scale], Cluster]]:
    clusters = []

    def start(scale: Scale) -> Cluster:
        clusters.append(Cluster(restorer, scale))
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.close()


def submitted(jobs: Jobs, folder: Path, data: bytes, wanted: Wanted) -> Job:
    file = folder / "upload"
    file.write_bytes(data)
    return jobs.submit(wanted, Header(width=1, height=1), "somebody", file)


def replicas() -> list[psutil.Process]:
    """The processes of this test's cluster that restore."""
    below = psutil.Process().children(recursive=True)
    return [each for each in below if each.is_running() and "ServeReplica" in "".join(each.cmdline())]


def test_replicas_restore_cancel_grow_and_are_replaced(
    started: Callable[[Scale], Cluster], restorer: Restorer, tmp_path: Path
) -> None:
    workers = started(Scale(most=2)).workers()
    assert len(workers) == 2
    jobs = Jobs(tmp_path / "jobs", workers)
    try:
        # what is restored there is what is restored here
        wanted = Wanted(name="a.png", reference="dn-s25")
        done = submitted(jobs, tmp_path, photograph(96), wanted)
        enlarged = submitted(jobs, tmp_path, photograph(33), Wanted(name="b.png", reference="", factor=3))
        wrong = submitted(jobs, tmp_path, b"no image", Wanted(name="c.png", reference="dn-s25"))
        until(lambda: all(job.state in ENDED for job in (done, enlarged, wrong)))
        assert (done.state, done.by, enlarged.state, enlarged.height) == (State.DONE, "dn-s25@v1", State.DONE, 99)
        assert restorer.rates["dn-s25"] > 0  # the replica measured it
        here = restorer.restore(photograph(96), wanted, lambda part: None)
        assert np.array_equal(pixels((done.folder / "result").read_bytes()), pixels(here.result))
        assert (wrong.state, "c.png" in wrong.message) == (State.FAILED, True)

        # one that takes long keeps its replica: the next one gets a replica of its own
        long = Wanted(name="d.png", reference="dn-s25", self_ensemble=True)
        endless = submitted(jobs, tmp_path, photograph(3000), long)
        until(lambda: endless.progress > 0)
        second = submitted(jobs, tmp_path, photograph(64), wanted)
        until(lambda: second.state == State.DONE)
        assert (endless.state, len(replicas())) == (State.RUNNING, 2)

        # replicas that are killed are replaced, and their photographs restored by others
        third = submitted(jobs, tmp_path, photograph(700), long)
        until(lambda: third.progress > 0)
        for replica in replicas():
            replica.kill()
        until(lambda: third.state in ENDED)
        assert (third.state, third.message) == (State.DONE, "")
        assert endless.state == State.RUNNING

        # a cancel is heeded
        jobs.end(endless.id)
        until(lambda: endless.state == State.CANCELLED)
    finally:
        jobs.close()


def noting_batches(replica: Any, file: Path) -> Any:
    """A replica that writes the size of each batch that it computes into a file; the first waits until four asked."""

    class Noting(replica):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            from scn.serving import replica as module  # that of the replica's own process

            run: Any = module._run
            self.asked = threading.Semaphore(0)

            def noted(like: Any, images: Any) -> Any:
                if not file.exists():
                    for _ in range(4):
                        assert self.asked.acquire(timeout=300)
                with file.open("a") as sizes:
                    sizes.write(f"{len(images)}\n")
                return run(like, images)

            module._run = noted

        def _collected(self, network: Any, loop: Any) -> Any:
            applied = super()._collected(network, loop)
            return lambda images: (self.asked.release(), applied(images))[1]

    return Noting


def test_photographs_of_one_size_are_one_batch(
    started: Callable[[Scale], Cluster], restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import serve

    deployment, file = serve.deployment, tmp_path / "sizes"
    monkeypatch.setattr(serve, "deployment", lambda **how: lambda kind: deployment(**how)(noting_batches(kind, file)))
    workers = started(Scale(most=1, together=4)).workers()
    assert len(workers) == 4
    wanted, results = Wanted(name="a.png", reference="dn-s25"), dict[int, bytes]()

    def restore(seed: int) -> None:
        results[seed] = workers[seed].restore(photograph(64, seed), wanted, lambda part: None).result

    threads = [threading.Thread(target=restore, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    for seed in range(4):  # within the rounding of a batch: a grey level at most
        here = restorer.restore(photograph(64, seed), wanted, lambda part: None)
        assert np.abs(pixels(results[seed]) - pixels(here.result)).max() <= 1
    sizes = [int(size) for size in file.read_text().split()]  # each photograph is three images: one for each channel
    assert (sum(sizes), max(sizes) > 3) == (12, True), sizes


def test_a_cluster_that_is_too_small_is_told(started: Callable[[Scale], Cluster]) -> None:
    with pytest.raises(UserError, match="A replica needs 3 CPUs, the cluster has 2"):
        started(Scale(threads=3))


def test_photographs_wait_for_room(
    started: Callable[[Scale], Cluster],
    restorer: Restorer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from scn.core.ray import Room

    monkeypatch.setattr("scn.serving.cluster._FIRST_S", 2.0)
    with Room({"CPU": 2}, 1) as all_of_it:
        assert all_of_it.is_there(120)
        jobs = Jobs(tmp_path / "jobs", started(Scale(most=1)).workers())
        assert "The cluster has no room for a replica yet" in capsys.readouterr().err
        waits = submitted(jobs, tmp_path, photograph(40), Wanted(name="a.png", reference="dn-s25"))
        gives_up = submitted(jobs, tmp_path, photograph(40), Wanted(name="b.png", reference="dn-s25"))
        until(lambda: waits.state == State.RUNNING)
        jobs.end(gives_up.id)
    until(lambda: waits.state in ENDED)
    jobs.close()
    assert (waits.state, waits.message, gives_up.state) == (State.DONE, "", State.CANCELLED)


def test_replicas_lost_again_and_again_are_told(restorer: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import ActorDiedError

    worker, attempts = Remote(None, restorer), []

    def lost(*_: object) -> None:
        attempts.append(1)
        raise ActorDiedError

    monkeypatch.setattr(worker, "_attempt", lost)
    with pytest.raises(UserError, match=r"a\.png was given to 3 replicas and each was lost"):
        worker.restore(b"", Wanted(name="a.png", reference="dn-s25"), lambda part: None)
    assert len(attempts) == 3
