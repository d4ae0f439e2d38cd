"""Watching the nodes and workers of a run: a line when one is lost or silent, and when it answers again."""

from collections.abc import Callable, Collection, Mapping

from scn.launch.messages import Joined


class Watch:
    """Tells, once each, of a node that is lost, of a worker that does not answer, and of one that does again.

    Args:
        say: takes each message, which has no full stop.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.workers: Collection[Joined] = ()
        """The workers that are watched."""
        self._say = say
        self._lost: set[str] = set()
        self._silent: set[int] = set()

    def look(self, alive: Collection[str], silent: Mapping[int, float]) -> None:
        """Compares with what was told before.

        Args:
            alive: Ray's names of the nodes that Ray counts as alive.
            silent: rank of each worker that has not answered for a while -> seconds since it did.
        """
        for worker in sorted(self.workers, key=lambda worker: worker.rank):
            if worker.node_id not in alive:
                if worker.node_id not in self._lost:
                    self._lost.add(worker.node_id)
                    self._say(f"node {worker.node} is lost")
            elif worker.rank in silent and worker.rank not in self._silent:
                self._silent.add(worker.rank)
                self._say(
                    f"{worker} has not answered for {silent[worker.rank]:.0f} s: its machine or the network is away"
                )
            elif worker.rank in self._silent and worker.rank not in silent:
                self._silent.remove(worker.rank)
                self._say(f"{worker} answers again")
