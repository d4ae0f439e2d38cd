"""How workers of Ray Train find each other; this runs in Ray Train's controller, and on its behalf in the workers."""

import os
from typing import Any

import psutil
import ray
from ray.exceptions import RayTaskError
from ray.train.torch import TorchConfig

from scn.core.errors import UserError

INTERFACE, NCCL_INTERFACE = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"


class Joining(TorchConfig):
    """Ray Train's configuration of the process group, on the network that Ray itself uses.

    Gloo would listen at the address that the machine's own name has, which is 127.0.0.1 on many a machine, and NCCL at
    an interface of its own choice: other nodes may not reach it there. What the user has set, GLOO_SOCKET_IFNAME or
    NCCL_SOCKET_IFNAME, stays.
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
            # Ray Train's own choice of NCCL or Gloo.
            interface = NCCL_INTERFACE if worker_group.get_resources_per_worker().get("GPU") else INTERFACE
            detail = " ".join(str(error.cause).split()).rstrip(".")
            raise UserError(
                f"Rank {'?' if rank is None else rank} on {error.ip} can't reach the other workers ({detail}): open "
                f"all ports between the nodes, or set {interface} on each to the network interface that joins them."
            ) from None


def choose_interface() -> tuple[str, int]:
    """Lets Gloo and NCCL use the network interface with this node's address in Ray; returns that and the process id."""
    address = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in addresses):
            os.environ.setdefault(INTERFACE, name)
            os.environ.setdefault(NCCL_INTERFACE, f"={name}")  # the name itself, and not all that begin with it
    return address, os.getpid()
