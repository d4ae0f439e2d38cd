"""Ports for servers of the tests that take a number."""

import contextlib
import random
import socket


def free_ports() -> int:
    """The first of four free ports, of which those 10,000 above are free as well, as SeaweedFS needs them.

    All lie below those from which the system takes one for each connection: of these, one that is free now may be taken
    before a server has started.
    """
    for first in random.sample(range(20_000, 22_760, 4), 100):
        with contextlib.ExitStack() as probes:
            try:
                for number in range(first, first + 4):
                    for port in (number, number + 10_000):
                        probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("No ports are free.")
