"""What networks cost: parameters, and the time of a forward pass, on this machine, all in one run."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scn.core.hashing import digest
from scn.evaluation.paper_networks import count_parameters, in_inference, network_of
from scn.evaluation.published import Published

SIDE = 256
"""Side in pixels of the restored image that is timed."""
INPUT = 128
"""Side in pixels of the network's input that multiply-adds are told for, as in the MS-Conv paper."""
MOST_MACS = 15e9
"""Multiply-adds of a pass above which a smaller image is timed, of half the side, a quarter and so on."""
SMALLEST = 32
"""Side in pixels of the smallest input that is timed."""
RUNS = 3
"""Passes after the first one; their median counts."""
EACH_S = 1.5
"""Seconds after which no further pass of a network begins."""
ALL_S = 40.0
"""Seconds of timing after which no further network is timed."""
ENSEMBLE = 8
"""Passes of a network with self-ensemble."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one network."""

    parameters: int
    """In inference: weight normalisation is folded into the weights."""
    macs: int
    """Multiply-adds for an input of INPUT x INPUT pixels, as papers count them."""
    seconds: float | None = None
    """Seconds per megapixel of the restored image; None: it was not timed."""


class Costs:
    """Counts and times networks, each once; those that come first are timed for sure."""

    def __init__(self, *, timed: bool = True) -> None:
        """Makes an empty account; timed=False: nothing is timed."""
        self._timed, self._found, self._spent = timed, dict[str, Cost](), 0.0

    def of(self, architecture: Mapping[str, Any]) -> Cost:
        """Returns the cost of a network, as scn.networks.build takes it; raises UserError as it does."""
        architecture = in_inference(architecture)
        key = digest(architecture)
        if key not in self._found:
            count, begun = count_parameters(architecture), time.monotonic()
            may = self._timed and self._spent < ALL_S
            macs = _macs(architecture)
            seconds = _seconds(architecture, macs) if may else None
            self._found[key] = Cost(parameters=count, macs=macs, seconds=seconds)
            self._spent += time.monotonic() - begun
        return self._found[key]

    def of_published(self, row: Published) -> Cost | None:
        """Returns the cost of a published network; None where this project has no network of that name and size."""
        architecture = network_of(row)
        return self.of(architecture) if architecture else None


def computing() -> str:
    """Says on what networks are timed: "CPU, 2 threads", or the GPU's name."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def _macs(architecture: Mapping[str, Any]) -> int:
    from scn.networks.profile import count_macs

    return count_macs(architecture, INPUT, INPUT)


def _seconds(architecture: Mapping[str, Any], macs: int) -> float:
    """The median time of a pass, in seconds per megapixel of the restored image."""
    from scn.inference.apply import apply, device_of, prepare
    from scn.networks.build import build, fold

    network = build(architecture, seed=0)
    fold(prepare(network))
    side = SIDE // network.scale
    while side >= 2 * SMALLEST and side**2 / INPUT**2 * macs > MOST_MACS:
        side //= 2
    image = np.random.default_rng(0).random((1, side, side, network.channels), dtype=np.float32)
    times: list[float] = []
    begun = time.monotonic()
    for _ in range(1 + RUNS):
        start = time.perf_counter()
        apply(network, image, device_of(network))
        times.append(time.perf_counter() - start)
        if time.monotonic() - begun > EACH_S:
            break
    passed = statistics.median(times[1:] or times)  # the first one makes what later ones find
    return passed / ((side * network.scale) ** 2 / 1e6)
