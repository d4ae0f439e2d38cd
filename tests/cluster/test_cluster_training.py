"""Training on a cluster: the weights of one machine alone, whatever happens to the machines meanwhile."""

import shutil

import pytest
from alone import Alone
from clusters import LOST, NODES, RAYLET, Cluster
from disturbances import KILLED, REFUSED, cut_off, s3_gone
from projects import NAME, Results, training

from benchmarks.measure import Row
from scn.core.errors import STOPPED

pytestmark = [pytest.mark.cluster, pytest.mark.integration, pytest.mark.timeout(3600)]
STREAMED = ("train.group_mib=0.05", "run.cache_mib=0")
"""Few images are in memory, and the others are read from the store all the time."""
LANES = "train.lanes=2"


@pytest.fixture
def results(cluster: Cluster, sharded: str, alone: Alone) -> Results:
    """A project on the cluster, all nodes of which are there, with its shards."""
    cluster.start(*NODES)
    results = cluster.project(sharded)
    shutil.copytree(alone.shards, results.shards)
    return results


def test_a_cluster_that_loses_a_node_trains_the_weights_of_one_machine(
    cluster: Cluster, results: Results, alone: Alone, measured: list[Row]
) -> None:
    with cluster.command(*training("run.workers=3")) as running:
        running.wait_for(lambda: results.steps)
        lost = (f"{NAME}:", cluster.nodes[LOST].address)
        for disturbance, told in ((cut_off(8), ()), (KILLED, ()), (cut_off(60), lost)):
            work = "training, 3 workers"
            measured.append(disturbance.strike(cluster, running, work, lambda: results.last_step_time, told))
        running.end()
    assert results.weights == alone.weights(3)


def test_a_cluster_whose_store_is_away_trains_the_weights_of_one_machine(
    cluster: Cluster, results: Results, alone: Alone, measured: list[Row]
) -> None:
    with cluster.command(*training("run.workers=2", *STREAMED)) as running:
        running.wait_for(lambda: results.steps)
        away = (f"{NAME}:", cluster.s3.machine.address)
        for disturbance, told in ((REFUSED, ()), (s3_gone(30), away)):
            work = "training, 2 workers"
            measured.append(disturbance.strike(cluster, running, work, lambda: results.last_step_time, told))
        running.end()
    assert results.weights == alone.weights(2, *STREAMED)


def test_with_lanes_any_number_of_workers_on_any_machines_trains_the_same_weights(
    cluster: Cluster, results: Results, alone: Alone, measured: list[Row]
) -> None:
    """It begins on two machines, of which one is killed, and goes on with one worker."""
    cluster.nodes[NODES[1]].kill(RAYLET)  # else one of the workers may be there, and nobody on the one that is killed
    with cluster.command(*training("run.workers=2", LANES)) as running:
        running.wait_for(lambda: results.steps)
        measured.append(KILLED.strike(cluster, running, "training, 2 lanes", lambda: results.last_step_time))
        running.stop()
        running.end(status=STOPPED)
    assert 0 < results.steps[-1] < 200
    with cluster.command(*training("run.workers=1", LANES)) as running:
        running.end()
    assert f"{NAME}: goes on from step" in running.printed
    assert results.weights == alone.weights(1, LANES)
    assert results.weights == alone.weights(2, LANES)
