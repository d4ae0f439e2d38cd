"""The networks that `model.name` may ask for: their parameters, and where they come from. No PyTorch here.

What builds them stands in scn.networks.build, under the same names. A parameter that a network
doesn't have is an error.
"""

from collections.abc import Mapping
from typing import Any

from scn.core.errors import UserError
from scn.core.schema import check, unknown
from scn.networks.base.config import Network, NetworkConfig
from scn.networks.ms_conv.config import ENTRIES as MS_CONV
from scn.networks.references.config import ENTRIES as REFERENCES
from scn.networks.replication.config import ENTRIES as REPLICATION
from scn.networks.scn.config import ENTRIES as SCN

DEFAULT = "scn"
"""The network of a configuration that names none."""

NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        *SCN,
        *REFERENCES,
        *REPLICATION,
        *MS_CONV,
    )
}
"""Every network, by name."""


def network_config(raw: Mapping[str, Any], source: object, place: str = "") -> NetworkConfig:
    """The parameters of the network that raw["name"] names, with its defaults for those that are not given.

    Args:
        source, place: where `raw` was read, for the message, as in scn.core.schema.check.
    Raises:
        UserError: for an unknown network, an unknown parameter, or a value out of its range.
    """
    name = raw.get("name", DEFAULT)
    if not isinstance(name, str) or name not in NETWORKS:
        where = f"{place}.name: " if place else ""
        raise UserError(f"{source}: {where}{unknown(str(name), NETWORKS, 'network')}.")
    return check(NETWORKS[name].parameters, raw, source, place)
