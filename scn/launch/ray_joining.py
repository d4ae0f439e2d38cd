"""How workers of Ray Train find each other; this runs in Ray Train's controller, and on its behalf in the workers."""

import os
from typing import Any

import psutil
import ray
from ray.exceptions import RayTaskError
from ray.train.torch import TorchConfig

from scn.core.errors import UserError

INTERFACE = "GLOO_SOCKET_IFNAME"


class Joining(TorchConfig):
    """Ray Train's configuration of the process group, on the network that Ray itself uses.

    Gloo would listen at the address that the machine's own name has, which is 127.0.0.1 on many a machine: other nodes
    can't reach it there. A GLOO_SOCKET_IFNAME that the user has set stays.
    """

    @property
    def backend_cls(self) -> type[Any]:
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Makes the process group. Raises UserError, with rank and node, if workers do not reach each other."""
        processes = worker_group.execute(choose_interface)
        try:
            super().on_start(worker_group, backend_config)
        except RayTaskError as error:
            rank = next((rank for rank, process in enumerate(processes) if process == (error.ip, error.pid)), None)
            detail = " ".join(str(error.cause).split()).rstrip(".")
            raise UserError(
                f"Rank {'?' if rank is None else rank} on {error.ip} can't reach the other workers ({detail}): open "
                f"all ports between the nodes, or set {INTERFACE} on each to the network interface that joins them."
            ) from None


def choose_interface() -> tuple[str, int]:
    """Lets Gloo use the network interface with this node's address in Ray; returns that address and the process id."""
    address = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            os.environ.setdefault(INTERFACE, name)
    return address, os.getpid()
