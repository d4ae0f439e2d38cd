"""The training loop under Ray Train: one process per worker, on this machine or a cluster; what the driver decides."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from scn.config.params import Params
from scn.config.run import RunConfig
from scn.core.cpus import cpu_count
from scn.core.errors import Stopped, UserError
from scn.core.ray import alive_nodes, cpus_per_worker, start_ray, stop_ray, wait_for_room
from scn.launch.ray_group import RESTARTS, Group
from scn.launch.watch import Watch
from scn.launch.world import asked_threads, tell_of_threads
from scn.monitoring.progress import say
from scn.storage.base import StoreError
from scn.training.arithmetic import fixed_threads
from scn.training.callbacks import Callbacks
from scn.training.loop import Run


def train_with_ray(
    run: Run,
    params: Params,
    callbacks: Callbacks,
    stopping: Callable[[], str] = lambda: "",
    threads: int | None = None,
) -> None:
    """Trains on as many Ray workers as the key run.workers says; calls `callbacks` in this process.

    When workers or nodes are lost, it goes on from the newest checkpoint with as many workers as before or, where the
    cluster has no room for them within run.cluster_timeout_s, with fewer, run.min_workers at least; at a checkpoint
    after room has come back, with more again.

    Args:
        stopping: is asked now and then why the run should stop; an empty string: it may go on.
        threads: PyTorch's threads in each worker; None: the recipe's number, OMP_NUM_THREADS, or all that the CPUs of
            the cluster allow.
    Raises:
        Stopped: if `stopping` gave a reason; the workers have stored a checkpoint.
        UserError: if the loop raised it, or the cluster had no room for the workers within run.cluster_timeout_s.
    """
    # Ray Train looks after its workers this often; its default of 2 s is most of a short run.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    config = run.experiment.run
    # Progress comes through the mailbox; the workers' logs would bury it under those of Ray Train itself.
    start_ray(max(cpu_count(), config.workers), show_logs=False)
    try:
        with _results_folder(params) as results:
            _drive(run, results, callbacks, stopping, threads)
    finally:
        stop_ray()


def _drive(
    run: Run, results: tuple[str, Any], callbacks: Callbacks, stopping: Callable[[], str], threads: int | None
) -> None:
    name, cpus = run.experiment.name, cpus_per_worker(run.experiment.run.workers)
    tell_of_threads(run.experiment, cpus)
    threads = threads or fixed_threads(run.experiment) or asked_threads() or cpus
    # More threads than a worker's CPUs, where a run has moved to smaller machines, are slower and the same bits.
    bundle = {"GPU": 1.0} if _uses_gpus(run.experiment.run) else {"CPU": float(min(threads, cpus))}
    counts = run.experiment.worker_counts()
    count, newest, failures, started = counts[0], 0, 0, False
    watch = Watch(partial(say, name))
    while True:
        if started and (why := stopping()):
            raise Stopped(f"{name}: stopped ({why}); the same command goes on from its last checkpoint")
        fewer = [each for each in counts if each <= count]
        count, started = _wait_for_room(run, bundle, fewer, stopping, watch if started else None), True
        larger = min((each for each in counts if each > count), default=count)
        if failures:
            _wait_for_store(run, stopping)
        group = Group(run, count, bundle, threads, results, partial(say, name), watch)
        error = group.follow(callbacks, stopping, larger - count)
        if group.saved > newest:
            newest, failures = group.saved, 0
        if group.grows:
            count = larger
        elif error is None:
            return
        else:
            failures += 1
            reason, sentence = group.reason(error)
            if failures > RESTARTS:
                raise (sentence or error) from None
            say(name, f"{reason}; starts the workers again")


def _wait_for_store(run: Run, stopping: Callable[[], str]) -> None:
    """Waits until the store answers: Ray Train writes a file of its own there when workers start, and tries once."""
    name = run.experiment.name
    with run.patience.within(partial(say, name), stopping):
        try:
            run.patience(lambda: run.store.check(write=False))
        except StoreError:
            if why := stopping():
                raise Stopped(f"{name}: stopped ({why}); the same command goes on from its last checkpoint") from None
            raise


def _uses_gpus(config: RunConfig) -> bool:
    """True if the workers train on GPUs: if the cluster has any, even too few, run.use_gpu: auto asks for them."""
    import ray

    return config.use_gpu is True or (config.use_gpu == "auto" and ray.cluster_resources().get("GPU", 0) > 0)


def _wait_for_room(
    run: Run, bundle: dict[str, float], counts: Sequence[int], stopping: Callable[[], str], watch: Watch | None
) -> int:
    """Waits until there is room for counts[0] workers; returns the largest of `counts` that there is room for.

    Args:
        watch: watches the workers that there were before; Ray reports late what these have left.
    """
    name, seconds = run.experiment.name, run.experiment.run.cluster_timeout_s
    calls = 0

    def waits(missing: str) -> None:
        nonlocal calls
        if why := stopping():
            raise Stopped(f"{name}: stopped while it waited for workers ({why}); the same command starts it again")
        if watch:
            watch.look(alive_nodes(), {})
        calls += 1
        if calls == (3 if watch else 1):
            say(name, f"waits {seconds} s at most for {missing}")

    missing = wait_for_room(bundle, counts[0], seconds, waits)
    if not missing:
        return counts[0]
    if watch:
        watch.look(alive_nodes(), {})
    for count in counts[1:]:
        if not wait_for_room(bundle, count, 0, lambda missing: None):
            return count
    if watch:
        raise UserError(
            f"{name} was interrupted and needs {missing}: start it again with lower run.workers or run.min_workers, or "
            "when the cluster is whole; it goes on from its last checkpoint."
        )
    instead = ", or set run.use_gpu to false" if "GPU" in bundle else ""
    waited = f" even after {seconds} s" if calls else ""
    raise UserError(f"{name} needs {missing}{waited}: lower run.workers or add nodes{instead}.")


@contextmanager
def _results_folder(params: Params) -> Iterator[tuple[str, Any]]:
    """Yields where Ray Train writes its own few files: (path, file system; None: the local one).

    The checkpoints are ours and lie in the store. A cluster needs a place that all its nodes see.
    """
    url = urlsplit(params.storage.url)
    if "RAY_ADDRESS" in os.environ and url.scheme == "s3":
        from pyarrow.fs import S3FileSystem

        endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
        options = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
        folder, files = f"{url.netloc}{url.path}/ray-train/{uuid4().hex[:16]}", S3FileSystem(**options)
        try:
            yield folder, files
        finally:
            with suppress(OSError):  # what is left, `scn gc` finds
                files.delete_dir(folder)
        return
    if "RAY_ADDRESS" in os.environ:
        folder = str((params.root / ".scn" / "ray").resolve())
    else:
        folder = tempfile.mkdtemp(prefix="scn-ray-train-")
    try:
        yield folder, None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
