"""What happens to the machines of a cluster while it works, and how long it takes until the work goes on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clusters import LOST, RAYLET, Cluster
from commands import Command

from benchmarks.measure import Row

Wait = Callable[[Callable[[], object]], None]
"""Waits until a condition is met, while the command runs, and until the command has told what it must."""


@dataclass(frozen=True)
class Disturbance:
    """Something that happens to the machines."""

    name: str
    """What it is called in the table of figures."""
    happens: Callable[[Cluster, Wait], object]
    """Lets it happen, waits while it lasts, and returns when all is back; if it does not pass, when it has begun."""
    passes: bool = True
    """False if it goes on until the end of the test."""

    def __str__(self) -> str:
        return self.name

    def strike(
        self,
        cluster: Cluster,
        command: Command,
        work: str,
        latest: Callable[[], float],
        told: Sequence[str] = (),
    ) -> Row:
        """Lets it happen while a command runs, and waits until its work goes on; returns a row of the table.

        What the store holds up, so that the command is still at work, it gets when all is back.

        Args:
            work: what the command does, in a word.
            latest: returns when the work last got on, in seconds since the epoch; 0: not yet.
            told: words of a line that the command must print while it lasts.
        """
        began = time.time()

        def wait(condition: Callable[[], object]) -> None:
            command.wait_for(condition)
            command.wait_for(lambda: not told or command.told(began, time.time(), *told))

        self.happens(cluster, wait)
        over = time.time()
        cluster.s3.set_mood(held="")

        def went_on() -> float:
            if not cluster.nodes[LOST].processes(RAYLET):
                cluster.start(LOST)  # Ray on a node that was given up while it was cut off ends when it hears of that
            return max(0.0, latest() - over)

        waited = command.wait_for(went_on)
        lasted = over - began if self.passes else None
        return {"work": work, "disturbance": self.name, "lasted_s": lasted, "goes_on_after_s": waited}


def raylet_killed(cluster: Cluster, wait: Wait) -> None:
    """Sends SIGKILL to a node's raylet, and starts Ray there again."""
    cluster.nodes[LOST].kill(RAYLET)
    cluster.start(LOST)
    wait(lambda: True)


def node_lost(cluster: Cluster, wait: Wait) -> None:
    """A node's link is down until the cluster has given it up."""
    node_id = cluster.node_id(LOST)
    with cluster.nodes[LOST].cut_off():
        wait(lambda: cluster.has_given_up(node_id))


def cut_off(seconds: float) -> Disturbance:
    """A node's link is down for so many seconds, or longer if it is not told before."""

    def happens(cluster: Cluster, wait: Wait) -> None:
        with cluster.nodes[LOST].cut_off():
            time.sleep(seconds)
            wait(lambda: True)

    return Disturbance(f"network cut for {seconds:.0f} s", happens)


def s3_gone(seconds: float) -> Disturbance:
    """The link of the S3 service is down for so many seconds, or longer if it is not told before."""

    def happens(cluster: Cluster, wait: Wait) -> None:
        with cluster.s3.machine.cut_off():
            cluster.s3.set_mood(held="")  # else nobody would need it now
            time.sleep(seconds)
            wait(lambda: True)

    return Disturbance(f"S3 gone for {seconds:.0f} s", happens)


def s3_refuses(cluster: Cluster, wait: Wait) -> None:
    """The S3 service answers some requests with 503 from now on; returns when it has done so."""
    began = time.time()
    cluster.s3.set_mood(refused=0.2, held="")
    wait(lambda: any(request.status == 503 and request.time > began for request in cluster.s3.answered()))


CUT_OFF = Disturbance("network cut, node given up", node_lost)
KILLED = Disturbance("raylet killed, node added", raylet_killed)
REFUSED = Disturbance("S3 answers a fifth with 503", s3_refuses, passes=False)
