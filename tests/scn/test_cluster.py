"""Starting Ray: what is said when the cluster is not there."""

import socket

import pytest

from scn.cluster import start_ray, stop_ray
from scn.errors import UserError


def test_a_cluster_that_does_not_answer_is_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_ray()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=rf"The Ray cluster at RAY_ADDRESS={address} can't be reached \(.*\): "):
            start_ray()


@pytest.mark.integration
def test_stop_leaves_alone_what_another_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    import ray

    stop_ray()
    ray.init(num_cpus=1, include_dashboard=False)
    start_ray()
    stop_ray()
    assert ray.is_initialized()
    ray.shutdown()
