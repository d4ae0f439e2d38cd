"""Three machines with a raylet each, a fourth with an S3 service that they share, a fifth that works alone."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from alone import Alone
from clusters import NODES, VARIABLES, Cluster
from machines import Impossible, Machine, network
from projects import SHARD
from services import serving

from benchmarks.measure import Row, table, write_json
from benchmarks.unsteady_s3 import STEADY

MEASURED: list[Row] = []
"""The table of figures: a row for each disturbance."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster-json", type=Path, metavar="FILE", help="write what the cluster's tests measure")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Sends the rows of one of several processes to the one that shows the table."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["measured"] = MEASURED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes the rows of a process of pytest-xdist, which has none if it was killed."""
    MEASURED.extend(getattr(node, "workeroutput", {}).get("measured", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if MEASURED:
        terminalreporter.write_line(table(MEASURED))
        if path := config.getoption("cluster_json", None):
            write_json(path, "Disturbances of a cluster of three machines", MEASURED)


@pytest.fixture(scope="session")
def machines() -> Iterator[dict[str, Machine]]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(network([*NODES, "s3", "alone"]))
        except Impossible as why:
            pytest.skip(str(why))
        yield made


@pytest.fixture(scope="session")
def cluster_of_all(machines: dict[str, Machine]) -> Iterator[Cluster]:
    """The cluster of the session."""
    with serving(machines["s3"], VARIABLES) as s3:
        yield Cluster(machines, s3)


@pytest.fixture
def cluster(cluster_of_all: Cluster) -> Cluster:
    """That cluster, its store as steady as at the start; each test starts the nodes that it needs."""
    cluster_of_all.s3.set_mood(**STEADY)
    return cluster_of_all


@pytest.fixture(scope="session")
def alone(machines: dict[str, Machine]) -> Alone:
    """The results of a machine that works alone."""
    return Alone(machines["alone"], VARIABLES)


@pytest.fixture(scope="session")
def measured() -> list[Row]:
    """The table of figures, to which tests add rows."""
    return MEASURED


@pytest.fixture(scope="session")
def sharded(cluster_of_all: Cluster, alone: Alone) -> str:
    """The prefix in the bucket under which the cluster, undisturbed, has put the shards."""
    cluster_of_all.s3.set_mood(**STEADY)
    cluster_of_all.start(*NODES)
    results = cluster_of_all.project("shared")
    with cluster_of_all.command(*SHARD) as sharding:
        sharding.end()
    assert results.manifests == alone.manifests
    return "shared"
