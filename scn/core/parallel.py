"""Carries out many jobs of one kind, in this process or as Ray tasks."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from textwrap import shorten
from typing import Any, TypeVar

from tqdm import tqdm

from scn.core import terminal
from scn.core.errors import UserError
from scn.core.nodes import common, refusal
from scn.core.ray import logs_of_ray, start_ray

Job = TypeVar("Job")
Result = TypeVar("Result")

LOOK_S = 5.0
"""Seconds from one look at a cluster's size to the next."""


def carry_out(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, *, unit: str
) -> Iterator[tuple[int, Result]]:
    """Calls a function with every job; yields the number of a job and its result as soon as it is there.

    Results that nobody keeps take no memory, and no more than two jobs per CPU wait. Nodes that join a cluster
    meanwhile take part.

    Args:
        workers: number of jobs carried out at once; 0: one, in this process, without Ray. If RAY_ADDRESS is set, the
            cluster's size decides.
        unit: what a job makes, for the progress bar.
    Raises:
        UserError: that of the first job that fails with one; it begins with the node, if that is another than this. Or
            a node's that has other code or versions. Or if Ray loses a job, by a lack of memory or with its node.
    """
    # disable=None: only where there is a terminal
    with tqdm(total=len(jobs), desc=f"{unit}s", unit=unit, leave=False, disable=None, **terminal.size()) as bar:
        if workers == 0:
            for number, job in enumerate(jobs):
                yield number, function(job)
                bar.update()
            return
        start_ray(workers)
        import ray

        task: Any = ray.remote(_with_the_node).options(name=getattr(function, "__name__", unit))
        here, needed = ray.get_runtime_context().get_node_id(), common()
        pending: dict[ray.ObjectRef, int] = {}
        waiting = iter(enumerate(jobs))
        left, in_flight, look_at = len(jobs), 0, 0.0
        while left:
            if time.monotonic() >= look_at:  # nodes may have joined or gone
                in_flight, look_at = _in_flight(), time.monotonic() + LOOK_S
            while len(pending) < in_flight and (following := next(waiting, None)):
                number, job = following
                pending[task.remote(function, job, here, needed)] = number
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=LOOK_S)
            if not ready:
                continue
            (done,) = ready
            number = pending.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, UserError):  # Ray's wrapper would turn the sentence into a traceback
                    raise error.cause from None
                raise
            except ray.exceptions.RayError as error:
                raise _lost(unit, error) from None
            del done, ready
            yield number, result
            bar.update()
            left -= 1


def _lost(unit: str, error: Exception) -> UserError:
    """The error that says what became of a job that Ray itself could not carry out: a lack of memory, a lost node..."""
    detail = shorten(" ".join(str(error).split("\n")[:2]), 200, placeholder=" ...").rstrip(".")
    return UserError(
        f"Ray could not carry out the job of a {unit} ({type(error).__name__}: {detail}): look at the memory of the "
        f"machines and at Ray's logs ({logs_of_ray()} on each), and run the command again, with fewer at "
        "once if memory was short (--workers, or `ray start --num-cpus` on a cluster)."
    )


def _in_flight() -> int:
    """How many tasks may wait or run now: two per CPU of the cluster as it is.

    That keeps the CPUs busy, and as many tasks wait as run, from which an autoscaler sees that there is more to do.
    More would only hold more jobs in the cluster's memory.
    """
    import ray

    return 2 * max(1, int(ray.cluster_resources().get("CPU", 0)))


def _with_the_node(function: Callable[[Job], Result], job: Job, asked_from: str, needed: dict[str, str]) -> Result:
    """Calls the function; an error says on which node, as what is wrong there may be right where the user looks."""
    import ray

    if error := refusal(needed):
        raise error
    try:
        return function(job)
    except UserError as error:
        if ray.get_runtime_context().get_node_id() == asked_from:
            raise
        raise UserError(f"On {ray.util.get_node_ip_address()} ({socket.gethostname()}): {error}") from None
