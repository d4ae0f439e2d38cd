"""Jobs on a cluster: nodes that join take part, and what Ray loses is one sentence."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from scn.core.errors import UserError
from scn.core.parallel import carry_out
from scn.core.ray import patiently, start_ray, stop_ray

# Ray leaves files and sockets of its own processes to the garbage collector.
quiet = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def empty_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster that RAY_ADDRESS names, whose only node has no CPU."""
    from ray.cluster_utils import Cluster

    stop_ray()
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
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
            patiently(lambda: empty_cluster.add_node(num_cpus=4))
        return wait(pending, **how)

    monkeypatch.setattr("ray.wait", counted)
    monkeypatch.setattr("scn.core.parallel.LOOK_S", 0.1)
    naps = dict(carry_out(time.sleep, [0.1] * 40, 1, unit="nap"))
    assert naps == dict.fromkeys(range(40))
    assert asked[0] == 2  # what an autoscaler sees where there is no CPU yet
    assert max(asked) == 8


@pytest.fixture(scope="class")
def one_cpu() -> Iterator[None]:
    """A cluster of this machine alone, for the tests of a class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        stop_ray()
        start_ray(1)
        yield
        stop_ray()


@quiet
@pytest.mark.integration
@pytest.mark.usefixtures("one_cpu")
class TestOneMachine:
    def test_a_process_that_dies_is_one_sentence(self) -> None:
        with pytest.raises(
            UserError, match=r"^Ray could not .* a shard \(WorkerCrashedError: The worker died"
        ) as caught:
            list(carry_out(os._exit, [1], 1, unit="shard"))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "name",
        [
            *("OutOfMemoryError", "NodeDiedError", "RuntimeEnvSetupError", "ObjectStoreFullError", "OutOfDiskError"),
            *("RayActorError", "WorkerCrashedError", "TaskUnschedulableError"),
        ],
    )
    def test_whatever_ray_loses_is_one_sentence(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import ray

        kind = getattr(ray.exceptions, name)
        error = (
            kind() if name in ("RayActorError", "WorkerCrashedError") else kind("Low on memory.\nMore of it\nfollows")
        )

        def lost(_: object) -> None:
            raise error

        monkeypatch.setattr("ray.get", lost)
        with pytest.raises(UserError, match=rf"\({name}: .+\): look at the memory .*Ray's logs .*--workers") as caught:
            list(carry_out(abs, [1], 1, unit="shard"))
        assert "\n" not in str(caught.value)

    def test_a_mistake_in_the_code_stays_what_it_is(self) -> None:
        with pytest.raises(TypeError, match="bad operand type"):
            list(carry_out(abs, ["x"], 1, unit="shard"))  # type: ignore[list-item]
