"""Starts and stops Ray, on this machine or on the cluster that RAY_ADDRESS names."""

import atexit
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil

from scn.core.errors import UserError
from scn.core.files import private_folder
from scn.core.nodes import runtime_env

Started = TypeVar("Started")
_started = False
_logs = "/tmp/ray/session_latest/logs"
"""Where the nodes of the cluster that this process uses keep their logs."""
_STATE_OF_RAY = (
    r"The node with node id: \w+ and address|Raylet is terminated|\[state-dump\]|A worker died or was killed while"
)
"""What Ray prints, in up to fifty lines, on every terminal that is connected when a node or a process is lost."""
ATTEMPTS = 3
"""How often a cluster of this machine is started before the machine counts as too busy."""
_LONGEST = 43
"""Letters of a folder of Ray's: a socket's name has 107, of which 64 are `/session_..._.../sockets/plasma_store`."""
_NO_GCS = ("Failed to start GCS", "Timed out waiting for file")
"""What Ray says of the first of its processes; of the others it says so by an Exception of no kind."""
MOMENT = 10
"""Seconds that Ray may take to report resources that have just become free."""


def start_ray(cpus: int | None = None, *, show_logs: bool = True) -> None:
    """Connects to Ray unless this process is connected already.

    If RAY_ADDRESS is set, it joins that cluster, whose nodes get the code of this process (scn.core.nodes), and must
    have its packages installed and see the same paths and the same store. A cluster that `ray start` made asks for a
    token: set RAY_AUTH_MODE=token. Without RAY_ADDRESS it starts a cluster on this machine, which ends with the
    process. The process's SIGTERM handler stays as it was.

    Args:
        cpus: how many tasks may run at once on this machine (None: one per CPU); a cluster ignores it.
        show_logs: prints what the workers print; Ray's own log folder has it in any case.
    Raises:
        UserError: if the cluster can't be reached, or this machine is too busy to start one.
    """
    global _started
    # All are read when ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a thread that is late would start another cluster
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", _STATE_OF_RAY)
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    token = logging.getLogger("ray._private.authentication.authentication_token_setup")
    token.addFilter(_asks_for_something)
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts a handler in its place that ends the process
    try:
        if address:
            _probe(address)
            with _stderr_closed():
                ray.init(logging_level=logging.WARNING, log_to_driver=show_logs, runtime_env=runtime_env())
        else:
            _start_here(cpus, show_logs)
    except (OSError, OverflowError) as error:
        if not address:
            raise
        detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(
            f"The Ray cluster at RAY_ADDRESS={address} can't be reached ({detail}): start it, set RAY_AUTH_MODE=token "
            "if it asks for a token, or unset RAY_ADDRESS to run on this machine."
        ) from None
    finally:
        token.removeFilter(_asks_for_something)
        if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)
    _started = True
    atexit.unregister(stop_ray)
    atexit.register(stop_ray)  # runs before Ray's own handler, which was registered when ray was imported


def _start_here(cpus: int | None, show_logs: bool) -> None:
    """Starts a cluster of this machine alone. Raises UserError as `patiently` does."""
    global _logs
    import ray

    context: Any = patiently(
        lambda: ray.init(
            address="local",  # even where `ray start` has left a cluster, which ray.init would join
            _temp_dir=str(_private_folder()),
            num_cpus=cpus,
            include_dashboard=False,
            logging_level=logging.WARNING,
            log_to_driver=show_logs,
        )
    )
    _logs = f"{context.address_info['session_dir']}/logs"  # session_latest is whichever began last on this machine


def patiently(start: Callable[[], Started]) -> Started:
    """Calls what starts Ray's processes; on a busy machine more than once, as Ray waits 20 or 30 s for each of them.

    Raises:
        UserError: if the processes were not there in time, ATTEMPTS times.
    """
    for attempt in range(1, ATTEMPTS + 1):
        others = set(psutil.Process().children(recursive=True))
        try:
            return start()
        except Exception as error:
            if type(error) is not Exception and not str(error).startswith(_NO_GCS):
                raise  # it is not that Ray waited in vain
            # They would stay as long as this process, and take what the next attempt needs.
            for process in set(psutil.Process().children(recursive=True)) - others:
                with suppress(psutil.Error):
                    if any("ray" in word for word in process.cmdline()):
                        process.kill()
            if attempt == ATTEMPTS:
                raise UserError(
                    f"Ray's processes were not ready on this machine in {ATTEMPTS} attempts, as it is too busy for "
                    "them: try again when it has less to do."
                ) from error
    raise AssertionError("the last attempt returns or raises")


def logs_of_ray() -> str:
    """Where the nodes of Ray that this process uses keep their logs, for a message."""
    return _logs


def _private_folder() -> Path:
    """The folder for the sockets and logs of clusters of this machine, which only the user can reach.

    Ray lets everybody write in its own, /tmp/ray, where another user could put a socket in the place of Ray's. It does
    so with the folder that it is given, too: hence that is one inside of a private one.
    """
    asked = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # as Ray itself does
    for base in (asked, "/tmp"):
        private = Path(base).absolute() / f"ray-{os.getuid()}"
        if len(os.fsencode(private / "r")) <= _LONGEST:
            break
    return private_folder(private) / "r"


def stop_ray() -> None:
    """Disconnects from Ray, and ends the local cluster, if start_ray made the connection."""
    global _started
    if _started:
        import ray

        with _stderr_closed():
            ray.shutdown()
        _started = False


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Ray's C++ part writes to this process's stderr: at the start each attempt, at the end each task that it cuts off.

    No setting prevents it; what went wrong is raised as well.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def cpus_per_worker(workers: int) -> int:
    """Returns the most CPUs that each of so many workers can have on the nodes that there are; 1 at least."""
    import ray

    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    fits = (each for each in range(max(nodes, default=1), 1, -1) if sum(n // each for n in nodes) >= workers)
    return next(fits, 1)


def alive_nodes() -> set[str]:
    """Returns Ray's names of the nodes that it counts as alive."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


class Room:
    """Request for room for `count` workers, which an autoscaling cluster learns of; as a context it ends the request.

    Room that is there is kept free for as long as the request stands.

    Args:
        bundle: resources that each worker needs, by Ray's names: {"CPU": 1}.
    """

    def __init__(self, bundle: dict[str, float], count: int) -> None:
        from ray.util.placement_group import placement_group

        self._group = placement_group([bundle] * count)

    def is_there(self, seconds: float = 0) -> bool:
        """Waits for `seconds` at most and returns True if there is room."""
        return bool(self._group.wait(seconds))

    def __enter__(self) -> "Room":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self._group)


def wait_for_room(bundle: dict[str, float], count: int, seconds: float, waits: Callable[[str], None]) -> str:
    """Waits until the cluster has room for `count` workers.

    It asks Ray for a placement group, so that an autoscaling cluster learns what is needed. A cluster that start_ray
    made on this machine can't grow: if it is too small, the function returns at once.

    Args:
        bundle: resources that each worker needs, by Ray's names: {"CPU": 1}.
        seconds: the longest to wait.
        waits: is called about once a second with a few words that say what is missing.
    Returns:
        "" if there is room, otherwise a few words that say what is missing.
    """
    if _started and "RAY_ADDRESS" not in os.environ and (missing := _missing(bundle, count, free=False)):
        return missing
    start = time.monotonic()
    with Room(bundle, count) as room:
        while not room.is_there(1):
            waited = time.monotonic() - start
            lacking = _missing(bundle, count, free=False)
            missing = lacking or _missing(bundle, count, free=True)
            # Ray reports late what others have just left.
            if waited >= (seconds if lacking else max(seconds, MOMENT)):
                return missing or f"{_needs(bundle, count)}, and no node has one free"
            if missing or waited >= MOMENT:
                waits(missing or f"{_needs(bundle, count)}, and no node has one free")
    return ""


def _missing(bundle: dict[str, float], count: int, *, free: bool) -> str:
    """A few words on what `count` workers need and the cluster does not have (or does not have free); "" if nothing."""
    import ray

    has = ray.available_resources() if free else ray.cluster_resources()
    for name, each in bundle.items():
        if has.get(name, 0) < each * count:
            amount = f"{has.get(name, 0):g}" + (" free" if free else "")
            return f"{_needs({name: each}, count)}, the cluster has {amount}"
    return ""


def _needs(bundle: dict[str, float], count: int) -> str:
    def amount(number: float, name: str) -> str:
        return f"{number:g} {name}" + ("" if number == 1 else "s")

    return f"{' and '.join(amount(each * count, name) for name, each in bundle.items())} for {amount(count, 'worker')}"


def _probe(address: str) -> None:
    """Raises OSError if nothing listens at host:port: Ray itself would go on trying for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _asks_for_something(record: logging.LogRecord) -> bool:
    """False for the notice that a local cluster is protected by a token, on which a user need not act."""
    return not record.getMessage().startswith("Token authentication is enabled")
