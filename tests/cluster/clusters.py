"""A Ray cluster on machines of their own, and the S3 service that they share."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from commands import Command
from machines import Machine
from projects import Results, write_project
from services import BUCKET, S3

from scn.core.ray import ATTEMPTS

ROOT = Path(__file__).resolve().parents[2]
NODES = ("node1", "node2", "node3")
HEAD = NODES[0]
LOST = NODES[-1]
"""The node that is lost or cut off."""
VARIABLES = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment of every command."""
RAY = Path(sys.executable).with_name("ray")
TOO_SLOW = "The current node timed out during startup"
RAYLET = "raylet/raylet"
"""Words of the command line of a node's raylet."""
ID = "--node_id="
"""The word there that has Ray's name of the node."""


class Cluster:
    """Nodes with one CPU each, which ask for a token."""

    def __init__(self, machines: Mapping[str, Machine], s3: S3) -> None:
        self.nodes, self.head, self.s3 = {name: machines[name] for name in NODES}, machines[HEAD], s3
        self.variables = VARIABLES | self.s3.variables
        self.variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64}
        self.variables |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}  # its default is much of a short training
        self.variables |= {"RAY_memory_monitor_refresh_ms": "0"}  # the memory is that of all the machines together
        self.variables |= {"RAY_worker_niceness": "0"}  # at Ray's own, 15, they wait for whatever else runs here
        self.address = f"{self.head.address}:6379"

    def start(self, *names: str) -> None:
        """Starts Ray on nodes where it does not run, one after the other; on the head, if it is among them, first.

        They would take each other's time: Ray waits 30 s for a node's processes, which no setting changes.
        """
        for node in (self.nodes[name] for name in sorted(names)):
            if node.processes(RAYLET):
                continue
            role = ["--head", "--port", "6379", "--include-dashboard", "false"]
            words: list[str | Path] = [RAY, "start", *(role if node is self.head else ["--address", self.address])]
            words += ["--node-ip-address", node.address, "--temp-dir", node.seen / "ray", "--num-cpus", "1"]
            words += ["--object-store-memory", str(100 * 2**20), "--disable-usage-stats"]
            self._start(node, words)

    def _start(self, node: Machine, words: Sequence[str | Path]) -> None:
        """Starts Ray on a node, as often as scn.core.ray would where the machine is too busy for it."""
        for attempt in range(1, ATTEMPTS + 1):
            node.clear()  # of what a raylet that was killed, or was too slow, has left behind
            # The head waits for its own first process as long as nodes try to reach it.
            starting = Command(node, words, {**self.variables, "RAY_gcs_server_port_wait_time_s": "300"})
            try:
                return starting.end()
            except AssertionError:
                if TOO_SLOW not in starting.printed or attempt == ATTEMPTS:
                    raise

    def node_id(self, name: str) -> str:
        """What Ray calls a node, until it is started again."""
        (raylet,) = self.nodes[name].processes(RAYLET)
        return next(word.removeprefix(ID) for word in raylet.cmdline() if word.startswith(ID))

    def has_given_up(self, node_id: str) -> bool:
        """True if the head counts a node as lost."""
        (log,) = self.head.folder.glob("ray/session_2*/logs/gcs_server.out")
        return any(node_id in line and "has been marked dead" in line for line in log.read_text().splitlines())

    def works(self, name: str) -> bool:
        """True if a task runs on a node."""
        titles = [" ".join(process.cmdline()) for process in self.nodes[name].processes("ray::")]
        return any("ray::IDLE" not in title for title in titles)

    def project(self, prefix: str) -> Results:
        """Makes the project anew, on each node in its own folder, with its store at `prefix` in the bucket.

        Returns:
            what its commands will leave on the head.
        """
        for node in self.nodes.values():
            write_project(node.folder / "project", f"s3://{BUCKET}/{prefix}")
        return Results(self.head)

    def command(self, *words: str | Path) -> Command:
        """Starts a command in the folder `project` of the head, on the cluster."""
        return Command(self.head, words, {**self.variables, "RAY_ADDRESS": self.address}, "project")
