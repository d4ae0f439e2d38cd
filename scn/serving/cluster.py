"""Restores the page's photographs on a Ray cluster: replicas of Ray Serve, as many as there is work for."""

import hashlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scn.core.errors import UserError
from scn.core.nodes import common
from scn.core.ray import start_ray, stop_ray
from scn.registry.following import HEED_S
from scn.registry.several import Packed
from scn.serving.work import Progress, Restored, Restorer, Wanted, not_loaded

APPLICATION = "scn-page"
"""Its name on the cluster. A page that is started anew takes the place of one that was killed."""
_TRIES = 3
"""So often a photograph is given to a replica, if each before was lost."""
_FIRST_S = 60.0
"""So long the first replica is waited for."""
_IDLE_S = 300.0
"""A replica that has had nothing to do for so long is ended; the next photograph waits until one has started."""
_HEED_S = 0.5
"""A cancel is heeded after so long, also where no replica has taken the photograph yet."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How many replicas there are, and what each has; None: what fits the cluster."""

    most: int | None = None
    """Replicas; None: one for each GPU that the cluster has now, or as many as its CPUs suffice for."""
    threads: int = 1
    """CPUs of a replica that has no GPU."""
    together: int | None = None
    """Photographs that a replica restores at a time; None: 8 on a GPU, 1 on CPUs, where more gains nothing."""


class Cluster:
    """The replicas, and a worker of the page for each photograph that they can restore at a time."""

    def __init__(self, restorer: Restorer, scale: Scale) -> None:
        """Connects to the cluster that RAY_ADDRESS names, or starts one on this machine, and the first replica.

        Args:
            restorer: has the models, which are sent to the nodes.
        Raises:
            UserError: if Ray Serve is not installed, the cluster can't be reached or lacks what a replica needs, or its
                nodes have other versions.
        """
        try:
            from ray import serve
        except ImportError as error:
            raise UserError(
                f"Ray Serve is not installed ({error.name} is missing): `pip install 'scn[serve]'` does that."
            ) from None
        import ray

        from scn.serving.replica import TOGETHER, Replica

        for name in ("ray.serve", "ray"):
            logging.getLogger(name).setLevel(logging.WARNING)
        start_ray(show_logs=False)
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        fits = gpus or int(resources.get("CPU", 0)) // scale.threads
        if not fits:
            stop_ray()
            raise UserError(
                f"A replica needs {scale.threads} CPUs, the cluster has {resources.get('CPU', 0):g}: name fewer "
                "--threads, or start a node that has them."
            )
        self.most = scale.most or fits
        self.together = scale.together or (TOGETHER if gpus else 1)
        serve.start(proxy_location="Disabled")  # nobody but the page asks the replicas
        deployment = serve.deployment(
            name="restore",
            max_ongoing_requests=self.together,
            autoscaling_config={
                "min_replicas": 0,  # trainings use the same cluster
                "initial_replicas": 1,
                "max_replicas": self.most,
                "target_ongoing_requests": self.together,
                "upscale_delay_s": 2.0,
                "downscale_delay_s": _IDLE_S,
            },
            ray_actor_options={"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": scale.threads},
            graceful_shutdown_timeout_s=10.0,
        )(Replica)
        application = deployment.bind(scale.threads, self.together, common())
        target = serve.RunTarget(target=application, name=APPLICATION, route_prefix=None)
        (self._handle,) = serve.run_many([target], wait_for_applications_running=False)
        self._restorer = restorer
        refusal = self._refusal(_FIRST_S)
        if refusal:
            self.close()
            raise refusal

    def workers(self) -> Sequence["Remote"]:
        """One worker for each photograph that the replicas can restore at a time."""
        return [Remote(self._handle, self._restorer)] * (self.most * self.together)

    def _refusal(self, seconds: float) -> UserError | None:
        """Why the first replica's node can't be used; waits so long for one."""
        from ray.serve.exceptions import DeploymentUnavailableError

        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                refusal: UserError | None = self._handle.refusal.remote().result(timeout_s=left)
                return refusal
            except DeploymentUnavailableError:  # another page's replicas are being ended
                time.sleep(0.1)
            except TimeoutError:
                pass
        print("The cluster has no room for a replica yet: photographs wait until it has.", file=sys.stderr)
        return None

    def close(self) -> None:
        """Ends the replicas."""
        from ray import serve

        serve.delete(APPLICATION)
        self._handle.shutdown()
        stop_ray()


class Remote:
    """A worker of the page (scn.serving.jobs) whose work is done by the replicas. Any number of threads may use it."""

    def __init__(self, handle: Any, restorer: Restorer) -> None:
        self._handle, self._restorer = handle, restorer
        self._packed: dict[str, tuple[str, Any, float]] = {}
        """Reference -> key of its models, where Ray has them, and when they were last looked for."""
        self._lock, self._measuring = threading.Lock(), threading.Lock()

    def restore(self, data: bytes, wanted: Wanted, progress: Progress) -> Restored:
        """As Restorer.restore; a photograph whose replica is lost is given to another one.

        Raises:
            NothingToRestore, UserError: as Restorer.restore; or if replicas are lost again and again.
        """
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        settled = replace(wanted, reference=self._restorer.reference(wanted))
        for _ in range(_TRIES):
            try:
                return self._attempt(data, settled, progress)
            except (RayError, RayServeException):
                progress(0.0)
        raise UserError(
            f"{wanted.name} was given to {_TRIES} replicas and each was lost: look at the cluster's nodes, or enlarge "
            "less."
        )

    def measure(self, reference: str) -> None:
        """Has a replica measure the rate of a model, if that is not known and is not being measured."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        if reference in self._restorer.rates or not self._measuring.acquire(blocking=False):
            return
        try:
            rate = self._handle.measure.remote(reference, *self._models(reference)).result()
            if rate is not None:
                self._restorer.rates[reference] = rate
        except (RayError, RayServeException):  # the first photograph measures it as well
            pass
        finally:
            self._measuring.release()

    def seconds(self, wanted: Wanted, pixels: int) -> float | None:
        """As Restorer.seconds."""
        return self._restorer.seconds(wanted, pixels)

    def _attempt(self, data: bytes, wanted: Wanted, progress: Progress) -> Restored:
        from scn.serving.replica import Ended

        stream = self._handle.options(stream=True).restore.remote(data, wanted, *self._models(wanted.reference))
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(stream, events), daemon=True).start()
        part = 0.0
        try:
            while True:
                try:
                    event = events.get(timeout=_HEED_S)
                except queue.Empty:
                    progress(part)
                    continue
                if isinstance(event, Ended):
                    self._restorer.rates.update(event.rates)
                    if isinstance(event.result, Exception):
                        raise event.result
                    return event.result
                if isinstance(event, Exception):
                    raise event
                part = event
                progress(part)
        except BaseException:
            stream.cancel()
            raise

    def _models(self, reference: str) -> tuple[str, Any]:
        import ray

        with self._lock:
            key, there, looked = self._packed.get(reference, ("", None, 0.0))
            now = time.monotonic()
            if not key or now - looked > HEED_S:
                try:
                    packed = self._restorer.models.packed(reference)
                except UserError as error:  # the registry can't be read: what it named before serves on
                    if not key:
                        raise not_loaded(reference, error) from None
                else:
                    if (found := _key(packed)) != key:
                        key, there = found, ray.put(packed)
                self._packed[reference] = (key, there, now)
            return key, there


def _forward(stream: Iterable[Any], events: "queue.SimpleQueue[Any]") -> None:
    try:
        for event in stream:
            events.put(event)
        events.put(RuntimeError("the replica ended without a result"))  # heard only where there was none
    except Exception as error:
        events.put(error)
    except BaseException as error:  # whatever it is, the job must not wait for ever
        events.put(RuntimeError(repr(error)))


def _key(packed: Packed) -> str:
    found = hashlib.sha256()
    for reference, (version, files) in sorted(packed.files.items()):
        found.update(f"{reference} {version} {sorted(files)}".encode())
        for _, data in sorted(files.items()):
            found.update(hashlib.sha256(data).digest())
    return found.hexdigest()
