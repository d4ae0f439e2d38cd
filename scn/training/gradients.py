"""Loss and gradients of a batch; on a GPU recorded once as a CUDA graph, and replayed from then on."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.config.params import Experiment
from scn.config.train import LossConfig
from scn.data import Batch
from scn.inference.precision import autocast

LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
    "mse": F.mse_loss,
}
"""Terms of the loss (scn.config.train.LossConfig): name -> mean distance of two images of the same shape."""

WARM_UP = 3
"""Steps of one shape and loss before its graph is recorded, in which cuDNN and the allocator make their choices."""


class Gradients:
    """Computes the loss of batches and its gradients, into the `grad` of a network's parameters.

    A step of SCN is thousands of kernels of microseconds, so that a GPU waits for the host which launches them. There,
    after a few steps of the same shape and loss, the kernels of a step are recorded as a CUDA graph, which is launched
    as a whole. It is the same kernels with the same results.
    """

    def __init__(self, experiment: Experiment, network: nn.Module, device: torch.device) -> None:
        config, run = experiment.train, experiment.run
        self.network, self.device = network, device
        self.precision, self.parts = config.precision, run.accumulate
        self.layout = torch.channels_last if run.channels_last else torch.contiguous_format
        self.forward = torch.compile(network, dynamic=False) if run.compile else network
        self.records = device.type == "cuda" and run.cuda_graphs and not run.compile
        self.seen: tuple[object, int] = (None, 0)
        """Shapes and loss of the latest steps, and how many there were."""
        self.graph: _Graph | None = None

    def __call__(self, batch: Batch, loss: LossConfig) -> Tensor:
        """Computes the gradients of the mean loss of this rank's patches; returns the loss, a scalar on the device.

        The loss is valid until the next call.
        """
        if not self.records:
            return self._compute(batch, loss)
        key = (batch.input.shape, batch.target.shape, loss)
        before, times = self.seen
        self.seen = (key, times + 1 if key == before else 1)
        if key != before:
            self.graph = None
        if self.seen[1] <= WARM_UP:
            return self._compute(batch, loss)
        if self.graph is None:
            self.graph = _Graph(lambda recorded: self._compute(recorded, loss), batch)
        return self.graph.replay(batch)

    def _compute(self, batch: Batch, loss: LossConfig) -> Tensor:
        self.network.zero_grad()
        total = torch.zeros((), device=self.device)
        for input, target in zip(batch.input.chunk(self.parts), batch.target.chunk(self.parts), strict=True):
            with autocast(self.device, self.precision):
                restored = self.forward(input.contiguous(memory_format=self.layout))
            part = distance(loss, restored.float(), target) / self.parts
            part.backward()
            total += part.detach()
        return total


class _Graph:
    """The recorded kernels of `compute`, and the memory that they read and write."""

    def __init__(self, compute: Callable[[Batch], Tensor], like: Batch) -> None:
        self.batch = Batch(input=like.input.clone(), target=like.target.clone())
        self.graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # Other threads may copy the next images to the GPU meanwhile: only what this one does is watched.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.total = compute(self.batch)

    def replay(self, batch: Batch) -> Tensor:
        self.batch.input.copy_(batch.input)
        self.batch.target.copy_(batch.target)
        self.graph.replay()
        return self.total


def distance(weights: LossConfig, restored: Tensor, target: Tensor) -> Tensor:
    """Returns the loss of images (B, C, H, W): the weighted sum of the terms in LOSSES."""
    terms = [weight * LOSSES[name](restored, target) for name, weight in weights.model_dump().items() if weight]
    return torch.stack(terms).sum()
