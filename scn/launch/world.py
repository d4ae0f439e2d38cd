"""Which process of a run this is, where it computes, and how a run without Ray joins the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from scn.config.params import Experiment
from scn.config.run import RunConfig
from scn.core.errors import UserError
from scn.core.ray import cpu_count
from scn.training.world import World


@contextmanager
def plain_world(experiment: Experiment) -> Iterator[World]:
    """This process alone, on its GPU where there is one; under torchrun, joined with the others while it is entered.

    torchrun says in RANK, WORLD_SIZE and LOCAL_RANK which process this is; its number of processes takes the place of
    `run.workers`, and each computes on the GPU of its local rank (nccl) or on its share of the cores (gloo).

    Raises:
        UserError: if `run.workers` asks for more processes than there are, the batch can't be split among them,
            GPUs are missing, or the processes don't find each other.
    """
    config = experiment.run
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys():
        if config.workers > 1:
            raise UserError(
                f"--plain trains in one process: set run.workers to 1, not {config.workers}, "
                f"or start it with `torchrun --nproc-per-node {config.workers} --no-python`."
            )
        use_threads(1, os.environ.get("OMP_NUM_THREADS"))
        yield World(device=torch.device("cuda" if wants_gpu(config, torch.cuda.is_available()) else "cpu"))
        return

    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    experiment.check_split(size)
    use_threads(here, os.environ.get("OMP_NUM_THREADS") if here == 1 else None)  # torchrun sets it to 1
    gpu = wants_gpu(config, torch.cuda.device_count() >= here)
    device = torch.device("cuda", local) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if gpu else "gloo", timeout=patience(config), device_id=device if gpu else None)
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"Process {rank} of {size} did not find the others ({detail}): start all of them with torchrun, "
            "or unset RANK, WORLD_SIZE and LOCAL_RANK."
        ) from None
    try:
        yield World(rank=rank, size=size, device=device)
    finally:
        dist.destroy_process_group()


def patience(config: RunConfig) -> timedelta:
    """How long the processes wait for one of them: rank 0 may try the store for `run.store_timeout_s` seconds."""
    return timedelta(minutes=30, seconds=config.store_timeout_s)


def wants_gpu(config: RunConfig, available: bool) -> bool:
    """Whether to train on GPUs: `auto` where they are `available`; UserError if they are asked for and missing."""
    if config.use_gpu is True and not available:
        raise UserError("run.use_gpu is true but there are too few GPUs that PyTorch can use: set it to auto.")
    return available and bool(config.use_gpu)


def use_threads(processes: int, asked: str | None) -> None:
    """Shares the machine's cores among the processes of a run on it.

    Args:
        asked: OMP_NUM_THREADS as the user has set it, which goes before; Ray sets one of its own in its workers.
    """
    torch.set_num_threads(int(asked) if asked and asked.isdecimal() else max(1, cpu_count() // processes))
