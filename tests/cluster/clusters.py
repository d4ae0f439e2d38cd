"""A Ray cluster on machines of their own, and the S3 service that they share."""

import sys
from collections.abc import Mapping
from pathlib import Path

from commands import Command
from machines import Machine
from projects import Results, write_project
from services import BUCKET, S3

ROOT = Path(__file__).resolve().parents[2]
NODES = ("node1", "node2", "node3")
HEAD = NODES[0]
VARIABLES = {
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment of every command."""
RAY = Path(sys.executable).with_name("ray")
RAYLET = "raylet/raylet"
"""Words of the command line of a node's raylet."""


class Cluster:
    """Nodes with one CPU each, which ask for a token."""

    def __init__(self, machines: Mapping[str, Machine], s3: S3) -> None:
        self.nodes, self.head, self.s3 = {name: machines[name] for name in NODES}, machines[HEAD], s3
        self.variables = VARIABLES | self.s3.variables
        self.variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64}
        self.variables |= {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}  # its default is much of a short training
        self.variables |= {"RAY_memory_monitor_refresh_ms": "0"}  # the memory is that of all the machines together
        self.address = f"{self.head.address}:6379"

    def start(self, *names: str) -> None:
        """Starts Ray on nodes where it does not run; on the head, if it is among them, before the others."""
        starting = []
        for node in (self.nodes[name] for name in sorted(names)):
            if node.processes(RAYLET):
                continue
            node.clear()  # of what a raylet that was killed has left behind
            role = ["--head", "--port", "6379", "--include-dashboard", "false"]
            words: list[str | Path] = [RAY, "start", *(role if node is self.head else ["--address", self.address])]
            words += ["--node-ip-address", node.address, "--temp-dir", node.seen / "ray", "--num-cpus", "1"]
            words += ["--object-store-memory", str(100 * 2**20), "--disable-usage-stats"]
            starting.append(Command(node, words, self.variables))
            if node is self.head:
                starting.pop().end()
        for command in starting:
            command.end()

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
