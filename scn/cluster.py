"""One way to start Ray: on this machine, or on the cluster that RAY_ADDRESS names."""

import logging
import os
import socket

from scn.errors import UserError

_started = False


def cpu_count() -> int:
    """The CPUs this process may use: in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_ray(cpus: int | None = None, *, show_logs: bool = True) -> None:
    """Connects to Ray unless this process is connected already.

    With RAY_ADDRESS in the environment this is that cluster, whose nodes must have this package installed and see
    the same paths and the same store (if `ray start` made it, it asks for a token: set RAY_AUTH_MODE=token);
    otherwise a cluster of this machine alone, which ends with the process.

    Args:
        cpus: how many tasks may run at once on this machine (None: one per CPU); a cluster knows its own CPUs.
        show_logs: print what the workers print. Ray keeps it in its own log folder in any case.
    Raises:
        UserError: if the cluster can't be reached.
    """
    global _started
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # is read when ray is imported
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    token = logging.getLogger("ray._private.authentication.authentication_token_setup")
    token.addFilter(_asks_for_something)
    try:
        if address:
            _probe(address)
            ray.init(logging_level=logging.WARNING, log_to_driver=show_logs)
        else:
            ray.init(num_cpus=cpus, include_dashboard=False, logging_level=logging.WARNING, log_to_driver=show_logs)
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
    _started = True


def stop_ray() -> None:
    """Disconnects from Ray, and ends the local cluster, if start_ray made the connection."""
    global _started
    if _started:
        import ray

        ray.shutdown()
        _started = False


def _probe(address: str) -> None:
    """OSError if nothing listens at host:port: Ray itself would go on trying for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _asks_for_something(record: logging.LogRecord) -> bool:
    """Drops the notice that a local cluster is protected by a token, which is the default and asks for nothing."""
    return not record.getMessage().startswith("Token authentication is enabled")
