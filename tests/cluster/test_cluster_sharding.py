"""Sharding on a cluster: the manifests of one machine alone, whatever happens to the machines meanwhile."""

import re
import shutil

import pytest
from alone import Alone
from clusters import LOST, NODES, Cluster
from disturbances import CUT_OFF, KILLED, REFUSED, Disturbance, s3_gone
from projects import SHARD
from services import BUCKET

from benchmarks.measure import Row

pytestmark = [pytest.mark.cluster, pytest.mark.integration, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("disturbance", [KILLED, CUT_OFF, s3_gone(30), REFUSED], ids=str)
def test_a_disturbed_cluster_makes_the_manifests_of_one_machine(
    cluster: Cluster, alone: Alone, measured: list[Row], disturbance: Disturbance
) -> None:
    cluster.start(*NODES)
    results = cluster.project(prefix := f"sharding-{len(measured)}")
    cluster.s3.set_mood(held=f"PUT /{BUCKET}/{prefix}/shards/")  # so that it is still at work when something happens

    def latest() -> float:
        puts = cluster.s3.answered("PUT", f"{prefix}/shards/")
        return max((put.time for put in puts if put.status == 200), default=0)

    with cluster.command(*SHARD) as sharding:
        sharding.wait_for(lambda: latest() and cluster.works(LOST))
        measured.append(disturbance.strike(cluster, sharding, "sharding", latest))
        sharding.end()
    assert results.manifests == alone.manifests


def test_a_corpus_that_only_the_head_has_is_told_with_the_node(cluster: Cluster) -> None:
    cluster.start(*NODES)
    cluster.project("only-the-head")
    for node in cluster.nodes.values():
        if node is not cluster.head:
            shutil.rmtree(node.folder / "project" / "pictures")
    with cluster.command(*SHARD) as sharding:
        sharding.end(status=1)
    assert re.fullmatch(
        r"data-prep: On (?:10\.77\.0\.2 \(node2\)|10\.77\.0\.3 \(node3\)): \S+/pictures/\w+/\d+\.png is not there: "
        r"put it back or take it out of the corpus; every node of a cluster must see it at this path\.",
        sharding.printed,
    )


def test_a_command_with_another_token_is_refused_in_one_sentence(cluster: Cluster) -> None:
    cluster.start(*NODES)
    cluster.project("another-token")
    cluster.variables["RAY_AUTH_TOKEN"], right = "6" * 64, cluster.variables["RAY_AUTH_TOKEN"]
    try:
        with cluster.command(*SHARD) as sharding:
            sharding.end(status=1)
    finally:
        cluster.variables["RAY_AUTH_TOKEN"] = right
    assert re.fullmatch(rf"data-prep: The Ray cluster at RAY_ADDRESS={cluster.address} .*token.*\.", sharding.printed)
