"""Geometric self-ensemble: the "+" of the SCN paper's tables (Timofte et al. 2016, Lim et al. 2017, section 3.4)."""

from collections.abc import Callable

import torch
from torch import Tensor

HEIGHT, WIDTH = 2, 3


def self_ensemble(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Returns the mean of the model's results for the 8 flips and rotations of the input, each turned back.

    Args:
        model: maps (N, C, H, W) to (N, C', sH, sW), for an input of any height and width.
        x: (N, C, H, W); need not be square: four of the eight go in as (N, C, W, H).
    Returns:
        (N, C', sH, sW) float32, whatever the precision of the model's output.
    """
    total: Tensor | None = None
    for transposed in (False, True):
        for flips in ((), (HEIGHT,), (WIDTH,), (HEIGHT, WIDTH)):
            turned = torch.flip(x, flips)
            y = model(turned.transpose(HEIGHT, WIDTH) if transposed else turned).float()
            y = torch.flip(y.transpose(HEIGHT, WIDTH) if transposed else y, flips)
            total = y if total is None else total + y
    assert total is not None
    return total / 8
