"""How workers on Ray find each other: the network interface, and the error with rank and node."""

import os
from types import SimpleNamespace

import pytest
import ray
from ray.exceptions import RayTaskError
from ray.train.torch import TorchConfig

from scn.core.errors import UserError
from scn.launch.ray_joining import INTERFACE, NCCL_INTERFACE, Joining, choose_interface


def test_workers_listen_where_ray_does_unless_the_user_says_another_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the address of the host name, which may be 127.0.1.1; no other node reaches it there."""
    monkeypatch.delenv(INTERFACE, raising=False)
    monkeypatch.delenv(NCCL_INTERFACE, raising=False)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "192.0.2.77")  # of no interface
    assert choose_interface() == ("192.0.2.77", os.getpid())
    assert not {INTERFACE, NCCL_INTERFACE} & os.environ.keys()
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    choose_interface()
    assert (os.environ[INTERFACE], os.environ[NCCL_INTERFACE]) == ("lo", "=lo")
    monkeypatch.setenv(INTERFACE, "mine")
    monkeypatch.setenv(NCCL_INTERFACE, "others")
    choose_interface()
    assert (os.environ[INTERFACE], os.environ[NCCL_INTERFACE]) == ("mine", "others")


@pytest.mark.parametrize(
    ("resources", "interface"), [({"CPU": 1}, "GLOO_SOCKET_IFNAME"), ({"GPU": 1}, "NCCL_SOCKET_IFNAME")]
)
def test_who_does_not_reach_the_others_is_told_with_rank_and_node(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, int], interface: str
) -> None:
    def fails(backend: object, worker_group: object, config: object) -> None:
        cause = RuntimeError("Gloo connectFullMesh failed\n  with Connection refused")
        raise RayTaskError("join", "Traceback", cause, pid=12, ip="10.0.0.3")

    monkeypatch.setattr(TorchConfig().backend_cls, "on_start", fails)
    workers = SimpleNamespace(
        execute=lambda function: [("10.0.0.2", 12), ("10.0.0.3", 11), ("10.0.0.3", 12)],
        get_resources_per_worker=lambda: resources,
    )
    config = Joining()
    with pytest.raises(
        UserError,
        match=r"^Rank 2 on 10\.0\.0\.3 can't reach the other workers \(Gloo .* Connection refused\): open all"
        rf".* set {interface} on",
    ):
        config.backend_cls().on_start(workers, config)
