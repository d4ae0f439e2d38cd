"""Jobs on a cluster: nodes that join take part, and what Ray loses is one sentence."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from scn.core.parallel import carry_out
from scn.core.ray import stop_ray

# Ray leaves files and sockets of its own processes to the garbage collector.
quiet = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def empty_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster that RAY_ADDRESS names, whose only node has no CPU."""
    from ray.cluster_utils import Cluster

    stop_ray()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    stop_ray()
    cluster.shutdown()


@quiet
@pytest.mark.integration
def test_nodes_that_join_later_take_part(empty_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    asked, wait = list[int](), ray.wait

    def counted(pending: list[Any], **how: Any) -> Any:
        asked.append(len(pending))
        if len(asked) == 1:
            empty_cluster.add_node(num_cpus=4)
        return wait(pending, **how)

    monkeypatch.setattr("ray.wait", counted)
    monkeypatch.setattr("scn.core.parallel.LOOK_S", 0.1, raising=False)
    naps = dict(carry_out(time.sleep, [0.1] * 40, 1, unit="nap"))
    assert naps == dict.fromkeys(range(40))
    assert asked[0] == 2  # what an autoscaler sees where there is no CPU yet
    assert max(asked) == 8
