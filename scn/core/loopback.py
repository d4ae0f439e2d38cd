"""Services that only this machine reaches, at 127.0.0.1: free ports, and requests that go through no proxy."""

import os
import socket
import time
import urllib.request
from collections.abc import Iterable

from scn.core.errors import UserError

HOST = "127.0.0.1"
"""Address that they listen on."""
_RELEASED_SECONDS = 2.0  # that the system may take to free the ports of a process that was killed


def check_free(ports: Iterable[int], cure: str) -> None:
    """Raises UserError, which ends with `cure`, if one of the ports can't be listened on within some seconds."""
    deadline = time.monotonic() + _RELEASED_SECONDS
    for port in ports:
        while error := _taken(port):
            if time.monotonic() > deadline:
                raise UserError(f"Port {port} of {HOST} can't be used ({error}): end what listens there, or {cure}.")
            time.sleep(0.1)


def opener() -> urllib.request.OpenerDirector:
    """Opens URLs without a proxy, whatever the environment says: none leads to HOST."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def no_proxy() -> dict[str, str]:
    """The variables NO_PROXY and no_proxy of this process with HOST added: programs read the one or the other first."""
    upper, lower = (os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy"))
    return {"NO_PROXY": _with_host(upper or lower), "no_proxy": _with_host(lower or upper)}


def _with_host(names: str) -> str:
    parts = [HOST, *filter(None, map(str.strip, names.split(",")))]
    return "*" if "*" in parts else ",".join(dict.fromkeys(parts))  # beside other names some take it for a name


def _taken(port: int) -> str:
    """Why HOST:port can't be listened on; "" if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignores their last connections
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
        except OverflowError:
            return "there is no such port"
    return ""
