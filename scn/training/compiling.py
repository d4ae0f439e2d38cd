"""The choice that `run.compile: auto` makes: whether torch.compile pays for its minutes in a run."""

import os
import shutil
import sysconfig
from pathlib import Path

import torch

from scn.config.params import Experiment
from scn.inference.precision import Precision, computed, has_amx
from scn.networks.profile import kept_for_backward

START_SECONDS, SECONDS_PER_PIECE = 75, 0.8
"""Seconds of one core that compiling takes, in all and for each piece of memory that autograd keeps: 140 for the 80
pieces of SCN with 4 blocks and 3 scales, 221 for the 179 of 8 blocks and 4 scales."""
SAVED_PER_GB: dict[Precision, float] = {"float32": 0.3, "bfloat16": 0.15}
"""Seconds of one core that a compiled step saves for each GB (float32) that autograd keeps. What is saved are passes
over memory between convolutions, which stay as they are; so it grows with the memory, not with the multiply-adds. In
float32 0.2 to 0.7 by the processor; in bfloat16, with AMX, 0.15 for 16 blocks of 32 units and 0.2 for 6 of 24."""
MARGIN = 3
"""Times that what is saved has to exceed what compiling takes, as both are known to a factor of two or so."""


def compiles(experiment: Experiment, steps: int, device: torch.device) -> tuple[bool, str]:
    """Returns whether a run's network is to be compiled, and why, as words that follow the experiment's name.

    The choice is a function of the recipe and the kind of device. Nothing is timed, and workers don't count, so that
    the same run is computed in the same way anywhere. What it needs may be `missing`.

    Args:
        steps: number of steps of the whole run.
        device: the device that the run computes on.
    """
    run = experiment.run
    if run.compile != "auto":
        return run.compile, f"{'compiled' if run.compile else 'not compiled'}: run.compile says so"
    if device.type == "cuda":
        why = "a recorded step is faster" if run.cuda_graphs else "what it gains on a GPU was never measured"
        return False, f"not compiled: {why}"
    precision = computed(device, experiment.train.precision)
    # There, a weight gradient of our own is faster, which a compiled network does not have.
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return False, "not compiled: on a processor with AVX2 alone it gains nothing"
    if precision == "bfloat16" and not has_amx():  # 16 blocks of 32 units lose 7 % on Zen 4
        return False, "not compiled: in bfloat16 without AMX it gains nothing"
    if steps < steps_to_pay(experiment, precision):
        return False, f"not compiled: {steps:,} steps are over before it would pay"
    return True, f"compiled, as {steps:,} steps pay for it"


def steps_to_pay(experiment: Experiment, precision: Precision) -> float:
    """Returns the number of steps from which compiling an experiment's network pays on a CPU.

    Args:
        precision: the one that the device computes in.
    """
    side = experiment.train.patch_size
    kept = kept_for_backward(experiment.architecture(), side, side)
    saved_per_step = SAVED_PER_GB[precision] * sum(kept) * experiment.train.batch_size / 1e9
    return MARGIN * (START_SECONDS + SECONDS_PER_PIECE * len(kept)) / saved_per_step


def missing(device: torch.device) -> str:
    """Names what PyTorch's compiler needs for a device and this machine lacks; empty: nothing."""
    if device.type == "cuda":  # Triton compiles what launches its kernels
        own = os.environ.get("CC")
        if not any(map(shutil.which, [own] if own else ["gcc", "clang"])):
            return f"C compiler ({own or 'gcc or clang'})"
    elif shutil.which(compiler := os.environ.get("CXX", "g++")) is None:
        return f"C++ compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python.h (Debian and Ubuntu: the package python3-dev)"
    return ""
