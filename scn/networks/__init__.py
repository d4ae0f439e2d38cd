"""The networks that `model.name` may ask for: their parameters, and where they come from. No PyTorch here.

What builds them stands in scn.models, under the same names. A parameter that a network doesn't have is an error.
"""

from collections.abc import Mapping
from typing import Any

from scn.errors import UserError
from scn.networks import ms_conv, references, replication, scn
from scn.networks.base import Network, NetworkConfig
from scn.schema import check, unknown

DEFAULT = "scn"
"""The network of a configuration that names none."""

NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        *scn.ENTRIES,
        *references.ENTRIES,
        *replication.ENTRIES,
        *ms_conv.ENTRIES,
    )
}
"""Every network, by name."""


def network_config(raw: Mapping[str, Any], source: object, place: str = "") -> NetworkConfig:
    """The parameters of the network that raw["name"] names, with its defaults for those that are not given.

    Args:
        source, place: where `raw` was read, for the message, as in scn.schema.check.
    Raises:
        UserError: for an unknown network, an unknown parameter, or a value out of its range.
    """
    name = raw.get("name", DEFAULT)
    if not isinstance(name, str) or name not in NETWORKS:
        where = f"{place}.name: " if place else ""
        raise UserError(f"{source}: {where}{unknown(str(name), NETWORKS, 'network')}.")
    return check(NETWORKS[name].parameters, raw, source, place)
