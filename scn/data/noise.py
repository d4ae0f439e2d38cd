"""Makes noise while training, as a function of the seed, the step and the number of the patch."""

import numpy as np
import torch
from torch import Tensor

from scn.config.params import Experiment
from scn.data.philox import Purpose, generator


def normal(experiment: Experiment, step: int, patches: range, device: torch.device) -> Tensor:
    """Standard normal noise, float32 (n, C, p, p), for n patches of a step.

    On a CPU the bits come from NumPy and are the same everywhere; on a GPU they come from PyTorch and differ between
    models of GPU. On a GPU every rank makes the noise of the whole batch, which costs next to nothing, and takes its
    part.

    Args:
        step: number of the step, from 0.
        patches: numbers of the patches in the step's batch.
        device: device of the result.
    """
    config = experiment.train
    shape = (experiment.task.image_channels, config.patch_size, config.patch_size)
    if device.type == "cpu":
        drawn = [
            generator(config.seed, Purpose.NOISE, step, i).standard_normal(shape, dtype=np.float32) for i in patches
        ]
        return torch.from_numpy(np.stack(drawn))
    seed = int(generator(config.seed, Purpose.NOISE, step).integers(2**63))
    random = torch.Generator(device).manual_seed(seed)
    whole = torch.randn((config.batch_size, *shape), generator=random, device=device)
    return whole[patches.start : patches.stop]
