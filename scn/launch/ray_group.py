"""One group of workers under Ray Train, from its start to its end, as the driver follows it."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from textwrap import shorten
from typing import Any
from uuid import uuid4

from scn.core.errors import Stopped, UserError
from scn.core.ray import Room, alive_nodes, logs_of_ray
from scn.launch.messages import HasFailed, Joined, Mailbox, Message, WasStopped
from scn.launch.ray_worker import described, work
from scn.launch.watch import Watch
from scn.launch.world import patience
from scn.training.callbacks import Callbacks, Saved
from scn.training.loop import Run

RESTARTS = 3
"""Number of times that the workers are started again, from the newest checkpoint, without making a newer one."""
LOOK_SECONDS = 2.0
"""Seconds between two looks of the driver at nodes and workers."""
SILENT_SECONDS = 20.0
"""Seconds after which it is told that a worker does not answer."""


class Group:
    """Workers that train together. If one fails all of them end; who goes on from the last checkpoint is a new group.

    Args:
        count: number of workers.
        bundle: resources of each worker, by Ray's names.
        threads: PyTorch's threads in each worker.
        results: folder and file system (None: the local one) for the few files that Ray Train writes.
        say: prints a message.
        watch: takes the workers.
    """

    def __init__(
        self,
        run: Run,
        count: int,
        bundle: dict[str, float],
        threads: int,
        results: tuple[str, Any],
        say: Callable[[str], None],
        watch: Watch,
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.saved = 0
        """Number of steps done in the newest checkpoint that the group has made."""
        self.grows = False
        """True if the group has stopped because there is room for more workers."""
        self._run, self._bundle, self._say, self._watch = run, bundle, say, watch
        self._workers: dict[int, Joined] = {}
        self._asked = False
        self._end: Stopped | UserError | None = None
        self._room: Room | None = None
        # On the node of this process, so that it is not lost together with another node.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._fit = _Fit(self._trainer(count, bundle, threads, results))

    def _trainer(self, count: int, bundle: dict[str, float], threads: int, results: tuple[str, Any]) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from scn.launch.ray_joining import Joining

        config, (folder, filesystem) = self._run.experiment.run, results
        return TorchTrainer(
            work,
            train_loop_config={**described(self._run), "mailbox": self._mailbox, "threads": threads},
            torch_config=Joining(timeout_s=int(patience(config).total_seconds())),
            scaling_config=ScalingConfig(num_workers=count, use_gpu="GPU" in bundle, resources_per_worker=bundle),
            run_config=RunConfig(
                name=f"{self._run.experiment.name}-{uuid4().hex[:8]}",
                storage_path=folder,
                storage_filesystem=filesystem,
                # The driver decides whether the run goes on, and with how many workers.
                failure_config=FailureConfig(  # mypy sees the class of Ray Train v1
                    max_failures=0,
                    controller_failure_limit=0,  # type: ignore[call-arg]
                    max_preemption_failures=0,
                ),
            ),
        )

    def follow(self, callbacks: Callbacks, stopping: Callable[[], str], more: int) -> Exception | None:
        """Takes the workers' messages to `callbacks`, and a request to stop to the workers, until they have ended.

        Args:
            more: number of workers that are missing; the group stops at a checkpoint when there is room for them.
        Returns:
            The error of Ray Train that ended the group; None if the run is complete, or the group grows.
        Raises:
            Stopped: as `stopping` asked for.
            UserError: if a worker met an error that would come again.
        """
        import ray

        looked = 0.0
        with ExitStack() as requests:
            while True:
                running = self._fit.is_alive()
                for message in ray.get(self._mailbox.hear.remote(0.5 if running else 0)):
                    self._take(message, callbacks)
                    if more and isinstance(message, Saved):
                        self._grow(more, requests)
                if self._fit.error or time.monotonic() - looked > LOOK_SECONDS:
                    self._watch.look(alive_nodes(), ray.get(self._mailbox.silent.remote(SILENT_SECONDS)))
                    looked = time.monotonic()
                if not running:
                    break
                if not self._asked and (why := stopping()):
                    self._ask_to_stop(why)
        self.grows = self.grows and isinstance(self._end, Stopped) and not stopping()
        if self.grows:
            return None
        if self._end:
            raise self._end
        return self._fit.error

    def _take(self, message: Message, callbacks: Callbacks) -> None:
        match message:
            case WasStopped(sentence):
                self._end = self._end or Stopped(sentence)
            case HasFailed(sentence):
                self._end = self._end or UserError(sentence)
            case Joined():
                self._workers[message.rank] = message
                self._watch.workers = self._workers.values()
            case _:
                message.deliver(callbacks)
                self.saved = message.step if isinstance(message, Saved) else self.saved

    def _grow(self, more: int, requests: ExitStack) -> None:
        """Asks Ray for room for more workers, and when it is there the workers to stop."""
        # Not before these workers have theirs, which Ray might keep for it.
        self._room = self._room or requests.enter_context(Room(self._bundle, more))
        if not self._asked and self._room.is_there():
            self._say("there is room for more workers: goes on with them")
            self._ask_to_stop("to go on with more workers")
            self.grows = True

    def _ask_to_stop(self, why: str) -> None:
        import ray

        ray.get(self._mailbox.ask_to_stop.remote(why))
        self._asked = True

    def reason(self, error: Exception) -> tuple[str, UserError | None]:
        """What an error of Ray Train says: in a few words, with rank and node; and as a sentence for the user.

        Returns:
            Words, and the sentence; None in its place where only the whole error tells what is wrong.
        """
        from ray.exceptions import RayActorError, RayError

        failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
        for rank, failure in failures.items():
            if isinstance(failure, UserError):  # which is a sentence already
                return f"{self._worker(rank)} failed ({_clause(failure)})", UserError(str(failure))
        for rank, failure in failures.items():
            if isinstance(getattr(failure, "health_check_failure", None), RayActorError):  # the process is gone
                told = f"{self._worker(rank)} died"
                return told, UserError(
                    f"{self._run.experiment.name}: {told} {RESTARTS + 1} times without a new checkpoint: look into the "
                    f"system's log of that machine, whether memory ran out there, and into Ray's ({logs_of_ray()})."
                )
        for rank, failure in failures.items():
            return f"{self._worker(rank)} failed ({type(failure).__name__}: {_clause(failure)})", None
        cause = getattr(error, "controller_failure", error)
        if isinstance(cause, UserError):
            return _clause(cause), UserError(str(cause))
        # Python's and Ray's own of the cluster are OSErrors, too; of S3, PyArrow raises bare ones.
        if isinstance(cause, OSError) and not isinstance(cause, RayError | ConnectionError | TimeoutError):
            return f"Ray Train can't write ({_clause(cause)})", UserError(
                f"{self._run.experiment.name}: Ray Train can't write its own few files ({_clause(cause)}): see whether "
                f"{self._run.store.url} answers and the disk has room, and start it again; it goes on from its last "
                "checkpoint."
            )
        return f"{type(cause).__name__}: {_clause(cause)}", None

    def _worker(self, rank: int) -> Joined | str:
        return self._workers.get(rank, f"rank {rank}")


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
        except Exception as error:  # the main thread takes it
            self.error = error


def _clause(error: object) -> str:
    """The beginning of an error's message as a part of a sentence."""
    return shorten(str(error), 150, placeholder=" ...").rstrip(".:") or type(error).__name__
