"""Evaluation on a cluster: the figures of one machine alone, whatever happens to the machines meanwhile."""

import shutil

import pytest
from alone import Alone
from clusters import NODES, Cluster
from disturbances import KILLED, REFUSED, Disturbance, cut_off, s3_gone
from projects import EVALUATE

from benchmarks.measure import Row

pytestmark = [pytest.mark.cluster, pytest.mark.integration, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("disturbance", [KILLED, cut_off(60), s3_gone(30), REFUSED], ids=str)
def test_a_disturbed_cluster_finds_the_figures_of_one_machine(
    cluster: Cluster, sharded: str, alone: Alone, measured: list[Row], disturbance: Disturbance
) -> None:
    cluster.start(*NODES)
    results = cluster.project(sharded)
    shutil.copytree(alone.shards, results.shards)
    shutil.copytree(alone.model(1), results.model)
    cluster.s3.set_mood(late_s=1)  # so that it is still at work when something happens
    before = len(cluster.s3.answered("GET", f"{sharded}/shards/"))

    def latest() -> float:
        reads = cluster.s3.answered("GET", f"{sharded}/shards/")[before:]
        return max((read.time for read in reads if read.status < 300), default=0)

    with cluster.command(*EVALUATE) as evaluating:
        evaluating.wait_for(latest)
        measured.append(disturbance.strike(cluster, evaluating, "evaluation", latest))
        evaluating.end()
    assert results.figures == alone.figures
