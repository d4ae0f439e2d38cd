"""Loss and gradients of a step, over all ranks; on a GPU recorded once as a CUDA graph, and replayed from then on."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scn.config.params import Experiment
from scn.config.train import LossConfig
from scn.data import Batch
from scn.inference.precision import autocast
from scn.training.reduction import Buckets, Lanes
from scn.training.world import World

LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "smooth_l1": F.smooth_l1_loss,
    "mse": F.mse_loss,
}
"""Terms of the loss (scn.config.train.LossConfig): name -> mean distance of two images of the same shape."""

WARM_UP = 3
"""Steps of one shape and loss before its graph is recorded: cuDNN times its kernels, and the allocator gets memory."""


class Gradients:
    """Computes the loss of steps and its gradients, into the `grad` of a network's parameters.

    A step of SCN is thousands of kernels of microseconds, so that a GPU waits for the host which launches them. There,
    after a few steps of the same shape and loss, the kernels of a step are recorded as a CUDA graph, which is launched
    as a whole. It is the same kernels with the same results.
    """

    def __init__(self, experiment: Experiment, network: nn.Module, world: World, *, compiled: bool) -> None:
        config, run = experiment.train, experiment.run
        self.network, self.device = network, world.device
        self.precision, self.parts = config.precision, run.accumulate
        self.layout = torch.channels_last if run.channels_last else torch.contiguous_format
        self.forward = torch.compile(network, dynamic=False) if compiled else network
        self.records = world.device.type == "cuda" and run.cuda_graphs and not compiled
        self.seen: tuple[object, int] = (None, 0)
        """Shapes and loss of the latest steps, and how many there were."""
        self.graph: _Graph | None = None
        self.lanes = Lanes(config.lanes, world.world_size) if config.lanes else None
        self.buckets: Buckets | None = None
        if world.world_size > 1 and not self.lanes:
            self.buckets = Buckets(network.parameters(), world.world_size)

    def __call__(self, batch: Batch, loss: LossConfig, flags: Sequence[bool] = ()) -> list[Tensor]:
        """Computes the gradients of the mean loss of all ranks' patches; every rank has to call it.

        Args:
            batch: this rank's share of the step's patches.
            flags: what this rank has to tell the others.
        Returns:
            The loss, and for each flag the share of ranks that raised it: scalars on the device, valid until the next
            call.
        """
        if self.lanes:
            inputs, targets = (images.chunk(self.lanes.own) for images in (batch.input, batch.target))
            for input, target in zip(inputs, targets, strict=True):
                numbers = self._numbers(self._here(Batch(input=input, target=target), loss), flags)
                self.lanes.add(numbers, self._computed())
            return self.lanes.average(len(numbers), self._computed())
        numbers = self._numbers(self._here(batch, loss), flags)
        return self.buckets.average(numbers) if self.buckets else numbers

    def give_up(self, patch: Batch, loss: LossConfig, flags: Sequence[bool]) -> list[Tensor]:
        """Takes this rank's part in a step that it can't compute, whatever it has done of it: others wait for it.

        Args:
            patch: any one, in place of this rank's share: its gradients have the shapes of the step's.
            loss, flags: as in a call.
        Returns:
            As a call: of use are the flags alone.
        """
        self.graph, self.seen = None, (None, 0)
        self.network.zero_grad()
        total = distance(loss, self.network(patch.input), patch.target)
        if self.buckets:
            self.buckets.open = False
        total.backward()
        numbers = self._numbers(total.detach(), flags)
        if self.lanes:
            self.lanes.branches = []
            for _ in range(self.lanes.own):
                self.lanes.add(numbers, self._computed())
            return self.lanes.average(len(numbers), self._computed())
        return self.buckets.average(numbers) if self.buckets else numbers

    def _numbers(self, total: Tensor, flags: Sequence[bool]) -> list[Tensor]:
        return [total, *(torch.full_like(total, float(flag)) for flag in flags)]

    def _computed(self) -> list[Tensor]:
        return [p.grad for p in self.network.parameters() if p.grad is not None]

    def _here(self, batch: Batch, loss: LossConfig) -> Tensor:
        """Computes the gradients of the mean loss of these patches; returns the loss."""
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
        inputs, targets = batch.input.chunk(self.parts), batch.target.chunk(self.parts)
        for number, (input, target) in enumerate(zip(inputs, targets, strict=True), 1):
            with autocast(self.device, self.precision):
                restored = self.forward(input.contiguous(memory_format=self.layout))
            part = distance(loss, restored.float(), target) / self.parts
            if self.buckets and number == self.parts and not self.records:  # a graph has no place for hooks
                self.buckets.expect()
            part.backward()
            total += part.detach()
        return total


class _Graph:
    """The recorded kernels of `compute`, and the memory that they read and write."""

    def __init__(self, compute: Callable[[Batch], Tensor], like: Batch) -> None:
        self.batch = Batch(input=like.input.clone(), target=like.target.clone())
        self.graph = torch.cuda.CUDAGraph()
        # The stream that is recorded is one of the current GPU, which need not be the run's.
        with torch.cuda.device(self.batch.input.device):
            torch.cuda.synchronize()
            # Other threads may copy the next images to the GPU meanwhile: only what this one does is watched.
            with torch.cuda.graph(self.graph, stream=torch.cuda.Stream(), capture_error_mode="thread_local"):
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
