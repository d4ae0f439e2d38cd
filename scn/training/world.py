"""Where a training process computes."""

import torch

from scn.cluster import cpu_count
from scn.errors import UserError
from scn.recipe import TrainConfig
from scn.training.loop import World


def plain_world(config: TrainConfig) -> World:
    """This process alone, on its GPU where there is one."""
    if config.workers > 1:
        raise UserError(f"--plain trains in one process: set train.workers to 1, not {config.workers}.")
    use_threads(1)
    return World(device=torch.device("cuda" if wants_gpu(config, torch.cuda.is_available()) else "cpu"))


def wants_gpu(config: TrainConfig, available: bool) -> bool:
    """Whether to train on GPUs: `auto` where they are `available`; UserError if they are asked for and missing."""
    if config.use_gpu is True and not available:
        raise UserError("train.use_gpu is true but there are too few GPUs that PyTorch can use: set it to auto.")
    return available and bool(config.use_gpu)


def use_threads(processes: int) -> None:
    """Shares the machine's cores among the processes of a run on it."""
    torch.set_num_threads(max(1, cpu_count() // processes))
