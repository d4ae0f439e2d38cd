"""How many threads PyTorch has on a CPU, and how they wait for each other."""

import os
from collections.abc import MutableMapping

from scn.core.cpus import cpu_count, usable

THREADS = "OMP_NUM_THREADS"
SPINS = "GOMP_SPINCOUNT"
"""The environment variable of GNU's OpenMP, which PyTorch brings for Linux, that is read when PyTorch is imported."""
FEW = "1000"
"""Turns of the loop in which a thread waits for the others before it sleeps: tens of microseconds."""


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Lets threads that wait for others sleep soon; to be called before PyTorch is imported.

    By default they look for the others 300,000 times, which is milliseconds. On cores that other processes use too, the
    others may be waiting for just that core: then two threads are several times as slow as one. Where the user has
    chosen, by OMP_WAIT_POLICY or GOMP_SPINCOUNT, that stays. Processes started from here inherit it.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault(SPINS, FEW)


def limit_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Lets PyTorch use as many threads as the control group has processors; to be called before PyTorch is imported.

    By itself it uses one for each core of the machine, and in a container that may use 4 of 64, all of them are
    stopped again and again. Where the user has chosen, or there is no limit, nothing changes.
    """
    if cpu_count() < usable():
        environment.setdefault(THREADS, str(cpu_count()))
