"""What happens to the machines of a cluster while it works, and how long it takes until the work goes on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clusters import NODES, RAYLET, Cluster
from commands import Command

from benchmarks.measure import Row

LOST = NODES[-1]
"""The node that is lost or cut off; the head is another."""


@dataclass(frozen=True)
class Disturbance:
    """Something that happens to the machines."""

    name: str
    """What it is called in the table of figures."""
    happens: Callable[[Cluster, Callable[[], object]], object]
    """Lets it happen, and returns when all is back; or, if it does not pass, when it has begun.

    While it lasts it calls its second argument, and waits for that.
    """
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

        Args:
            work: what the command does, in a word.
            latest: returns when the work last got on, in seconds since the epoch; 0: not yet.
            told: words of a line that the command must print while it lasts.
        """
        began = time.time()

        def is_told() -> None:
            if told:
                command.wait_for(lambda: command.told(began, time.time(), *told), 60)

        self.happens(cluster, is_told)
        over = time.time()

        def went_on() -> float:
            if not cluster.nodes[LOST].processes(RAYLET):
                cluster.start(LOST)  # Ray on a node that was given up while it was cut off ends when it hears of that
            return max(0.0, latest() - over)

        waited = command.wait_for(went_on)
        lasted = over - began if self.passes else None
        return {"work": work, "disturbance": self.name, "lasted_s": lasted, "goes_on_after_s": waited}


def raylet_killed(cluster: Cluster, meanwhile: Callable[[], object]) -> None:
    """Sends SIGKILL to a node's raylet, and starts Ray there again."""
    cluster.nodes[LOST].kill(RAYLET)
    meanwhile()
    cluster.start(LOST)


def cut_off(seconds: float) -> Disturbance:
    """A node's link is down for so many seconds, or longer if it is not told before."""

    def happens(cluster: Cluster, meanwhile: Callable[[], object]) -> None:
        with cluster.nodes[LOST].cut_off():
            time.sleep(seconds)
            meanwhile()

    return Disturbance(f"network cut for {seconds:.0f} s", happens)


def s3_gone(seconds: float) -> Disturbance:
    """The link of the S3 service is down for so many seconds, or longer if it is not told before."""

    def happens(cluster: Cluster, meanwhile: Callable[[], object]) -> None:
        with cluster.s3.machine.cut_off():
            time.sleep(seconds)
            meanwhile()

    return Disturbance(f"S3 gone for {seconds:.0f} s", happens)


def s3_refuses(cluster: Cluster, meanwhile: Callable[[], object]) -> None:
    """The S3 service answers some requests with 503 from now on; returns when it has done so."""
    began = time.time()
    cluster.s3.set_mood(refused=0.2)
    while not any(request.status == 503 and request.time > began for request in cluster.s3.answered()):
        assert time.time() < began + 120, "nobody asks S3 for anything"
        time.sleep(0.1)
    meanwhile()


KILLED = Disturbance("raylet killed, node added", raylet_killed)
REFUSED = Disturbance("S3 answers a fifth with 503", s3_refuses, passes=False)
