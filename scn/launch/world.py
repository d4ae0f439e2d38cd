"""Rank, world size and device of a process without Ray: alone, or one of those that torchrun started."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from scn.config.params import Experiment
from scn.config.run import RunConfig
from scn.core.cpus import cpu_count
from scn.core.errors import Stopped, UserError
from scn.monitoring.progress import say
from scn.training.arithmetic import fixed_threads
from scn.training.world import World


@contextmanager
def plain_world(experiment: Experiment) -> Iterator[World]:
    """Yields a world of this process alone, on its GPU if it has one; under torchrun, of all its processes.

    torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; its number of processes takes the place of `run.workers`. Each
    process computes on the GPU of its local rank (nccl) or on its share of the cores (gloo).

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
        device = torch.device("cuda" if wants_gpu(config, torch.cuda.device_count(), 1) else "cpu")
        tell_of_threads(experiment, cpu_count())
        yield World(device=device, threads=asked_threads() or cpu_count())
        return

    rank, world_size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if config.batch_per_worker and config.workers != world_size:
        raise UserError(
            f"run.batch_per_worker gives each of {config.workers} run.workers its patches, and torchrun has started "
            f"{world_size} processes: set run.workers to {world_size}, or train.batch_size in its place."
        )
    experiment.check_split(world_size)
    # torchrun sets OMP_NUM_THREADS to 1 where there are several.
    threads = (asked_threads() if here == 1 else None) or max(1, cpu_count() // here)
    gpu = wants_gpu(config, torch.cuda.device_count(), here)
    if not rank:
        tell_of_threads(experiment, max(1, cpu_count() // here))
    device = torch.device("cuda", local_rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if gpu else "gloo", timeout=patience(config), device_id=device if gpu else None)
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"Process {rank} of {world_size} on {socket.gethostname()} did not find the others ({detail}): start all "
            f"of them by torchrun, set {'NCCL' if gpu else 'GLOO'}_SOCKET_IFNAME to the network interface between the "
            "machines, or unset RANK, WORLD_SIZE and LOCAL_RANK."
        ) from None
    try:
        yield World(rank=rank, world_size=world_size, device=device, threads=threads)
    except (Stopped, UserError):  # which all ranks raise
        dist.destroy_process_group()
        raise
    # After another error, perhaps of one rank alone, NCCL might wait there for the others, and they for this one: the
    # process ends instead, and torchrun ends the others.
    dist.destroy_process_group()


def tell_of_threads(experiment: Experiment, cpus: int) -> None:
    """Prints a sentence if the recipe fixes more threads than a process has CPUs; it stays in force, for its bits."""
    if (threads := fixed_threads(experiment) or 1) > cpus:
        say(
            experiment.name,
            f"train.threads is {threads} and a worker has {cpus} CPU{'s' * (cpus > 1)}: steps take longer than with "
            "as few, whose last bits are others; lower the key if nobody needs these bits",
        )


def patience(config: RunConfig) -> timedelta:
    """Returns how long ranks wait for each other: half an hour longer than rank 0 may retry the store."""
    return timedelta(minutes=30, seconds=config.store_timeout_s)


def wants_gpu(config: RunConfig, gpus: int, processes: int) -> bool:
    """Returns True if the run uses GPUs: run.use_gpu is true, or `auto` and there are any.

    Args:
        gpus: number of GPUs of this machine that PyTorch can use.
        processes: number of the run's processes on this machine.
    Raises:
        UserError: if there are too few of them.
    """
    if config.use_gpu is True and gpus < processes:
        raise UserError(
            f"run.use_gpu is true but PyTorch can use {gpus} GPUs for {processes} workers: set it to false."
        )
    if config.use_gpu == "auto" and 0 < gpus < processes:
        raise UserError(
            f"PyTorch can use {gpus} of the {processes} GPUs that {processes} workers need: start fewer, or set "
            "run.use_gpu to false."
        )
    return bool(config.use_gpu) and gpus > 0


def asked_threads() -> int | None:
    """Returns the user's OMP_NUM_THREADS; None if it is not set or no number."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else None
