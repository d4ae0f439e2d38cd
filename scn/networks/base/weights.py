"""Makes every normalised weight once per forward pass, in the layout and the type in which convolutions read it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from scn.networks.base.convolution import Convolution


@contextmanager
def made_once(network: nn.Module) -> Iterator[None]:
    """Context of one forward pass with gradients, in which every Convolution's normalised weight is made only once.

    Without it, a weight is made anew by every call, for every scale of a pyramid; and as it is no leaf, autocast casts
    it in every call, and it comes in NCHW, which convolutions of images in channels-last reorder. Values are the same.
    Gradients of all calls are added before they are cast back, which is what autocast does with weights that are
    leaves. Nothing is kept after the pass, so that a changed weight is never missed, whatever other threads do.
    """
    layers = [m for m in network.modules() if isinstance(m, Convolution) and is_parametrized(m, "weight")]
    try:
        for layer in layers:
            layer.made = {}
        yield
    finally:
        for layer in layers:
            layer.made = None
