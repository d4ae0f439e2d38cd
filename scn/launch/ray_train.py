"""The training loop under Ray Train: one process per worker, on this machine or a cluster."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from scn.config.params import Experiment, Params
from scn.core.errors import Stopped, UserError
from scn.core.ray import cpu_count, cpus_per_worker, start_ray, stop_ray, wait_for_room
from scn.launch.messages import HasFailed, Mailbox, Order, WasStopped
from scn.launch.signals import Stopping
from scn.launch.world import asked_threads, patience
from scn.shards.manifest import EvaluationManifest, TrainingManifest
from scn.storage import open_store
from scn.storage.base import StoreError
from scn.training.arithmetic import fixed_threads
from scn.training.callbacks import Callbacks, Event, Logged, Measured, Noticed, Resumed, Row, Saved, Started
from scn.training.loop import Run, train
from scn.training.validation import Validated
from scn.training.world import World

RESTARTS = 3
"""Number of times that a run is restarted, from its newest checkpoint, when a worker dies."""


def train_with_ray(
    run: Run,
    params: Params,
    callbacks: Callbacks,
    minutes: float | None = None,
    threads: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Trains on as many Ray workers as the key run.workers says; calls `callbacks` in this process.

    Args:
        threads: PyTorch's threads in each worker; None: the recipe's number, OMP_NUM_THREADS, or all that the CPUs of
            the cluster allow.
        check: is called now and then; an error of it ends the run at once.
    Raises:
        Stopped: by SIGTERM, SIGINT or when `minutes` are over; the workers have stored a checkpoint.
        UserError: if the loop raised it, or the cluster had no room for the workers within run.cluster_timeout_s.
    """
    # Ray Train looks after its workers this often; its default of 2 s is most of a short run.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")
    config = run.experiment.run
    with Stopping(minutes, check) as stopping:
        # Progress comes through the mailbox; the workers' logs would bury it under those of Ray Train itself.
        start_ray(max(cpu_count(), config.workers), show_logs=False)
        try:
            _drive(run, params, callbacks, stopping, threads)
        finally:
            stop_ray()


def _drive(run: Run, params: Params, callbacks: Callbacks, stopping: Stopping, threads: int | None) -> None:
    import ray
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name, config = run.experiment.name, run.experiment.run
    gpus = ray.cluster_resources().get("GPU", 0)
    gpu = config.use_gpu is True or (config.use_gpu == "auto" and gpus >= config.workers)
    cpus = cpus_per_worker(config.workers)
    threads = threads or fixed_threads(run.experiment) or asked_threads() or cpus
    # More threads than a worker's CPUs, where a run has moved to smaller machines, are slower and the same bits.
    bundle = {"GPU": 1.0} if gpu else {"CPU": float(min(threads, cpus))}
    _wait_for_room(name, bundle, config.workers, config.cluster_timeout_s, stopping)
    # The limit holds when workers are restarted after a node was lost, too: Ray Train would wait for ever.
    os.environ.setdefault(
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(max(15, config.cluster_timeout_s // (RESTARTS + 1)))
    )

    # On the node of this process, so that it is not lost together with another node.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
    results, filesystem = _results_folder(params)
    try:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "experiment": run.experiment.model_dump(),
                "manifest": run.manifest.model_dump(),
                "evaluation": run.evaluation.model_dump() if run.evaluation else None,
                "store": run.store.url,
                "root": str(run.root.resolve()),
                "start": (run.start, run.start_sha256),
                "launch": run.launch,
                "code_sha256": run.identity["code_sha256"],
                "mailbox": mailbox,
                "threads": threads,
            },
            torch_config=TorchConfig(timeout_s=int(patience(config).total_seconds())),
            scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=gpu, resources_per_worker=bundle),
            run_config=RunConfig(
                name=f"{name}-{uuid4().hex[:8]}",
                storage_path=results,
                storage_filesystem=filesystem,
                failure_config=FailureConfig(  # mypy sees the class of Ray Train v1
                    max_failures=RESTARTS,
                    controller_failure_limit=RESTARTS,  # type: ignore[call-arg]
                ),
            ),
        )
        _listen(mailbox, _Fit(trainer), callbacks, stopping)
    except ControllerError:  # Ray Train has no error of its own for workers without room
        if missing := wait_for_room(bundle, config.workers, 0, lambda missing: None):
            raise UserError(
                f"{name} was interrupted and needs {missing}: start it again with lower run.workers, or when the "
                "cluster is whole; it goes on from its last checkpoint."
            ) from None
        raise
    finally:
        if filesystem is None:
            shutil.rmtree(results, ignore_errors=True)


def _wait_for_room(name: str, bundle: dict[str, float], workers: int, seconds: int, stopping: Stopping) -> None:
    said = False

    def waits(missing: str) -> None:
        nonlocal said
        if why := stopping():
            raise Stopped(f"{name}: stopped before its first step ({why}); the same command starts it again")
        if not said:
            print(f"{name}: waits {seconds} s at most for {missing}", flush=True)
            said = True

    if missing := wait_for_room(bundle, workers, seconds, waits):
        instead = " or set run.use_gpu to auto" if "GPU" in bundle else ""
        waited = f" even after {seconds} s" if said else ""
        raise UserError(f"{name} needs {missing}{waited}: lower run.workers, add nodes{instead}.")


class _Fit(threading.Thread):
    """Thread that runs Ray Train, so that the main thread, which alone gets signals, stays free for them."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(daemon=True)
        self.trainer = trainer
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.trainer.fit()
        except Exception as error:  # raised again in the main thread
            self.error = error


def _listen(mailbox: Any, fit: _Fit, callbacks: Callbacks, stopping: Stopping) -> None:
    """Takes the workers' messages to `callbacks`, and a request to stop to the workers, until Ray Train has ended."""
    import ray

    asked = False
    end: Stopped | UserError | None = None
    while True:
        running = fit.is_alive()
        for message in ray.get(mailbox.hear.remote(0.5 if running else 0)):
            match message:
                case WasStopped(sentence):
                    end = end or Stopped(sentence)
                case HasFailed(sentence):
                    end = end or UserError(sentence)
                case _:
                    message.deliver(callbacks)
        if not running:
            break
        if not asked and (why := stopping()):
            ray.get(mailbox.ask_to_stop.remote(why))
            asked = True
    if end:
        raise end
    if fit.error:
        # Ray wraps what a worker raised; in its wrapping the one sentence is a traceback.
        failures = getattr(fit.error, "worker_failures", {}).values()
        for cause in (getattr(error, "cause", None) or error for error in failures):
            if isinstance(cause, UserError):
                raise UserError(str(cause)) from None
        raise fit.error


def _worker(config: dict[str, Any]) -> None:
    """One process of the run; Ray Train has joined it with the others in a process group."""
    import ray
    import ray.train.torch

    mailbox = config["mailbox"]
    if ray.get(mailbox.has_failed.remote()):
        return  # Ray Train has restarted the workers, but the failure would come again
    context = ray.train.get_context()
    world = World(
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=ray.train.torch.get_device(),
        threads=config["threads"],
    )
    leads = world.rank == 0
    try:
        run = _run(config)
        train(run, world, _Teller(mailbox, leads), Order(mailbox))
        if leads:
            run.checkpoints.hand_over()  # the driver, which may be on another machine, takes the result
    except Stopped as stopped:
        if leads:
            ray.get(mailbox.tell.remote(WasStopped(str(stopped))))
    except StoreError:
        raise  # nothing is lost, and it may be over in a moment: Ray Train starts the workers again
    except UserError as error:
        ray.get(mailbox.tell.remote(HasFailed(str(error))))
        if world.world_size > 1:
            raise  # the others may be waiting for this one


class _Teller:
    """Callbacks of a worker; on rank 0 each call goes to the driver, through the mailbox."""

    def __init__(self, mailbox: Any, leads: bool) -> None:
        self._mailbox, self._leads = mailbox, leads

    def on_start(self, how: str) -> None:
        self._tell(Started(how))

    def on_resume(self, step: int) -> None:
        self._tell(Resumed(step))

    def on_log(self, row: Row) -> None:
        self._tell(Logged(row))

    def on_validation(self, step: int, result: Validated) -> None:
        self._tell(Measured(step, result))

    def on_checkpoint(self, step: int) -> None:
        import ray.train

        ray.train.report({"step": step})  # waits until every rank has reported
        self._tell(Saved(step))

    def on_notice(self, sentence: str) -> None:
        self._mailbox.tell.remote(Noticed(sentence))  # from any rank

    def _tell(self, event: Event) -> None:
        import ray

        if self._leads:
            ray.get(self._mailbox.tell.remote(event))


def _run(config: dict[str, Any]) -> Run:
    """The run that the driver described; the project's folder is made where this machine does not have it."""
    root = Path(config["root"])
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{root}, the folder for checkpoints and shards, can't be made on {socket.gethostname()} "
            f"({error.strerror}): let the cluster's user write there, or train in a folder that every node can make."
        ) from None
    evaluation = config["evaluation"]
    start, start_sha256 = config["start"]
    run = Run(
        experiment=Experiment.model_validate(config["experiment"]),
        manifest=TrainingManifest.model_validate(config["manifest"]),
        evaluation=EvaluationManifest.model_validate(evaluation) if evaluation else None,
        store=open_store(config["store"], root),
        root=root,
        start=start,
        start_sha256=start_sha256,
        launch=config["launch"],
    )
    if run.identity["code_sha256"] != config["code_sha256"]:
        raise UserError(
            f"{socket.gethostname()} has other code of this project than the machine that started the run: install the "
            "same commit on all nodes."
        )
    return run


def _results_folder(params: Params) -> tuple[str, Any]:
    """Returns where Ray Train writes its own few files: (path, file system; None: the local one).

    The checkpoints are ours and lie in the store. A cluster needs a place that all its nodes see.
    """
    url = urlsplit(params.storage.url)
    if "RAY_ADDRESS" not in os.environ:
        return tempfile.mkdtemp(prefix="scn-ray-train-"), None
    if url.scheme != "s3":
        return str((params.root / ".scn" / "ray").resolve()), None
    from pyarrow.fs import S3FileSystem

    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    options = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
    return f"{url.netloc}{url.path}/ray-train", S3FileSystem(**options)
