"""The training loop under Ray Train: one process per worker, on this machine or a cluster."""

import os
import shutil
import tempfile
import threading
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from scn.cluster import cpu_count, start_ray, stop_ray
from scn.config import Experiment, Params
from scn.errors import UserError
from scn.manifest import Manifest
from scn.storage import StoreError, open_store
from scn.training.loop import Hooks, Run, train
from scn.training.monitor import Monitor
from scn.training.world import World, use_threads, wants_gpu

RESTARTS = 3
"""How often a run whose worker dies is started again, from its newest checkpoint."""


def train_with_ray(run: Run, params: Params, monitor: Monitor) -> None:
    """Runs the loop on `train.workers` processes; what they log comes to `monitor` in this process.

    Raises:
        UserError: what the loop raised, or that the cluster lacks the workers or GPUs that were asked for.
    """
    # The worker group is looked at this often; the default of 2 s is most of a short run.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    config = run.experiment.train
    # What the workers have to say comes through `messages`; their logs tell of every move of Ray Train itself.
    start_ray(max(cpu_count(), config.workers), show_logs=False)
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    messages = Queue(actor_options={"num_cpus": 0})
    listener = _Listener(messages, monitor)
    results, filesystem = _results_folder(params)
    try:
        resources = ray.cluster_resources()
        if resources.get("CPU", 0) < config.workers:
            raise UserError(
                f"The Ray cluster has {resources.get('CPU', 0):g} CPUs for {config.workers} workers: "
                "lower train.workers or add nodes."
            )
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "experiment": run.experiment.model_dump(),
                "manifest": run.manifest.model_dump(),
                "store": run.store.url,
                "root": str(params.root.resolve()),
                "messages": messages,
            },
            scaling_config=ScalingConfig(
                num_workers=config.workers, use_gpu=wants_gpu(config, resources.get("GPU", 0) >= config.workers)
            ),
            run_config=RunConfig(
                name=f"{run.experiment.name}-{uuid4().hex[:8]}",
                storage_path=results,
                storage_filesystem=filesystem,
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        )
        trainer.fit()
    except TrainingFailedError as failure:
        failures = getattr(failure, "worker_failures", {}).values()
        # Ray wraps what a worker raised; in its wrapping the one sentence is a traceback.
        for cause in (getattr(error, "cause", None) or error for error in failures):
            if isinstance(cause, UserError):
                raise UserError(str(cause)) from None
        raise
    finally:
        error = listener.stop()
        messages.shutdown()
        if filesystem is None:
            shutil.rmtree(results, ignore_errors=True)
        stop_ray()
    if error:
        raise UserError(error)


def _worker(config: dict[str, Any]) -> None:
    """One process of the run; Ray Train has joined it with the others in a process group."""
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    use_threads(context.get_local_world_size())
    world = World(rank=context.get_world_rank(), size=context.get_world_size(), device=ray.train.torch.get_device())
    run = Run(
        experiment=Experiment.model_validate(config["experiment"]),
        manifest=Manifest.model_validate(config["manifest"]),
        store=open_store(config["store"], config["root"]),
    )

    def tell(kind: str, value: object) -> None:
        if world.rank == 0:
            config["messages"].put((kind, value))

    hooks = Hooks(
        resumed=lambda step: tell("resumed", step),
        logged=lambda row: tell("logged", row),
        saved=lambda step: ray.train.report({"step": step}),
    )
    try:
        train(run, world, hooks)
    except StoreError:
        raise  # may be over in a moment: Ray Train starts the workers again
    except UserError as error:
        tell("error", str(error))  # every worker meets the same mistake, and would meet it again


class _Listener(threading.Thread):
    """Passes what the workers say on to the monitor."""

    def __init__(self, messages: Any, monitor: Monitor) -> None:
        super().__init__(daemon=True)
        self.messages, self.monitor = messages, monitor
        self.error: str | None = None
        self.start()

    def run(self) -> None:
        while True:
            kind, value = self.messages.get()
            if kind == "stop":
                return
            if kind == "error":
                self.error = value
            else:
                getattr(self.monitor, kind)(value)

    def stop(self) -> str | None:
        """Waits until everything said so far is passed on; the error that a worker met, if any."""
        self.messages.put(("stop", None))
        self.join()
        return self.error


def _results_folder(params: Params) -> tuple[str, Any]:
    """Where Ray Train writes its own few files: (path, file system, None for the local one).

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
