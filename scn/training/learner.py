"""The learner: network, optimiser and average of the weights, as one state that takes steps."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from scn.config.params import Experiment
from scn.config.train import LossConfig
from scn.core.errors import UserError
from scn.core.memory import NoRoom, ran_out, room_for
from scn.data import Batch
from scn.networks.build import build
from scn.training.gradients import Gradients
from scn.training.room import no_room_for_step, no_room_for_weights
from scn.training.world import World, gathered, on_every_rank

_LEAST = 8
"""Side of the smallest patch that train.patch_size allows, which every network takes."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Step result, averaged over ranks."""

    loss: float
    grad_norm: float
    """L2 norm of the gradient over all weights, before clipping."""
    stopping: bool
    """True if any rank was asked to stop."""

    @property
    def finite(self) -> bool:
        """True if both loss and gradient norm are finite."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


class Average(AveragedModel):
    """The exponential moving average of a network's weights, with the bits and the state that PyTorch's own has.

    PyTorch's copies the number of averaged steps to the device in every step, and a GPU is waited for.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        averaged: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        if self.n_averaged == 0:
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, 1 - self.decay)
        for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)
        self.n_averaged += 1


class Learner:
    """The network of an experiment in training, with its optimiser and the average of its weights.

    On a CPU, N steps give the same bits as k steps, `state`, `load` into a new learner and N - k steps.

    Attributes:
        network: the network that every step trains.
    """

    def __init__(self, experiment: Experiment, world: World, *, compiled: bool = False) -> None:
        """Builds the network of an experiment; `compiled` says whether torch.compile compiles it.

        Raises:
            NoRoom: if memory does not suffice for it.
        """
        self.config, self.world = experiment.train, world
        self.deterministic = experiment.run.deterministic
        self.no_room = {"step": no_room_for_step(experiment, world), "weights": no_room_for_weights(experiment, world)}
        layout = torch.channels_last if experiment.run.channels_last else torch.contiguous_format
        with room_for(self.no_room["weights"]):
            self.network: nn.Module = build(experiment.architecture(), seed=self.config.seed)
            self.network.to(world.device, memory_format=layout)  # type: ignore[call-overload]
            self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate, fused=True)
            self.average: AveragedModel | None = None
            if self.config.ema_decay:
                self.average = Average(self.network, self.config.ema_decay)
        self.gradients = Gradients(experiment, self.network, world, compiled=compiled)

    @property
    def result(self) -> nn.Module:
        """The network to measure and keep: with the average of the weights where train.ema_decay is set."""
        return self.average.module if self.average else self.network

    def step(
        self,
        batch: Batch,
        loss: LossConfig,
        rate: float,
        *,
        stopping: bool = False,
        abandon: UserError | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> StepResult:
        """Takes one optimiser step; changes nothing if the loss or the gradient is not finite, or a rank abandons it.

        A rank whose memory does not suffice for its patches abandons the step. (What it has computed by then has
        changed the statistics of batch normalisation.)

        Args:
            batch: this rank's share of the step's patches.
            loss: weights of the loss's terms.
            rate: the learning rate.
            stopping: True if this rank was asked to stop.
            abandon: why this rank has no patches, in which case `batch` is any one; None: it has them.
            meanwhile: is called when a GPU has the work of the step, before it is waited for.
        Raises:
            UserError: on every rank, the error with which the first of them abandons the step.
            NoRoom: on every rank, if one has too little memory for the optimiser, which takes it in the first step.
        """
        means: list[Tensor] = []
        if not abandon:
            try:
                with fastest_convolutions(self.world.device, self.deterministic):
                    means = self.gradients(batch, loss, (stopping, False))
            except Exception as error:
                if not ran_out(error):
                    raise
                abandon = NoRoom(self.no_room["step"])
        if abandon:  # no more in the frames that took the memory
            if self.world.world_size == 1:  # nobody waits, and statistics of batches stay what they are
                raise abandon
            # There may be no room for a whole patch either, and if this fails the others wait in vain.
            side, scale = _LEAST, batch.target.shape[-1] // batch.input.shape[-1]
            input, target = batch.input[:1, :, :side, :side], batch.target[:1, :, : side * scale, : side * scale]
            patch = Batch(input=input, target=target)
            with room_for(self.no_room["step"]):
                means = self.gradients.give_up(patch, loss, (stopping, True))
        total, stops, abandons = means
        norm = torch.nn.utils.get_total_norm(p.grad for p in self.network.parameters() if p.grad is not None)
        numbers = torch.stack((total, norm, stops, abandons))
        meanwhile()
        loss_value, grad_norm, asked, abandoned = numbers.tolist()  # the only place where a GPU is waited for
        if abandoned:
            raise next(error for error in gathered(abandon, self.world) if error)
        result = StepResult(loss=loss_value, grad_norm=grad_norm, stopping=asked > 0)
        if result.finite:
            if self.config.max_grad_norm:
                torch.nn.utils.clip_grads_with_norm_(self.network.parameters(), self.config.max_grad_norm, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            if self.optimizer.state:
                self._update()
            else:  # which this step makes, and no later one takes more memory
                on_every_rank(self.world, self._update)
        return result

    def _update(self) -> None:
        with room_for(self.no_room["weights"]):
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.network)

    def state(self) -> dict[str, Any]:
        """Returns everything that the next step depends on, except the data."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "random": torch.get_rng_state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                # Tensors keep the layout they were saved in, and fused Adam walks through memory: run.channels_last
                # may have changed since.
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        if self.average:
            self.average.load_state_dict(state["average"])
        torch.set_rng_state(state["random"])

    def start_from(self, weights: Mapping[str, Tensor], name: str) -> int:
        """Copies weights of another network where names and shapes agree; returns the number of tensors copied.

        Args:
            weights: with weight normalisation folded, as in model.safetensors.
            name: the other model's, for the error.
        Raises:
            UserError: if none fit.
        """
        taken = 0
        with torch.no_grad():
            for module_name, module in self.network.named_modules():
                for kind in ("weight", "bias", "running_mean", "running_var"):
                    mine = getattr(module, kind, None)
                    theirs = weights.get(f"{module_name}.{kind}")
                    if isinstance(mine, Tensor) and theirs is not None and theirs.shape == mine.shape:
                        value = theirs.to(mine).contiguous(memory_format=torch.preserve_format)
                        if isinstance(mine, nn.Parameter):
                            mine.copy_(value)
                        else:  # made of the direction and the length of weight normalisation
                            setattr(module, kind, value)
                        taken += 1
        if self.average:
            self.average.module.load_state_dict(self.network.state_dict())
        if not taken:
            raise UserError(f"start_from: no weights of {name} fit this network: name a model of the same kind.")
        return taken


def network_of(experiment: Experiment, state: Mapping[str, Any]) -> nn.Module:
    """Builds the network that a checkpoint's `state` holds, with the average of the weights where there is one."""
    network = build(experiment.architecture())
    weights = state["network"]
    if state["average"]:
        prefix = "module."
        weights = {key.removeprefix(prefix): v for key, v in state["average"].items() if key.startswith(prefix)}
    network.load_state_dict(weights)
    return network


@contextmanager
def fastest_convolutions(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Context in which cuDNN times its kernels for each new shape and takes the fastest; not if `deterministic`.

    It is for steps, whose shapes are always the same; the images of validations come in many sizes.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def deterministic(device: torch.device, wanted: bool) -> AbstractContextManager[None]:
    """Returns a context in which a GPU computes the same bits every time, if `wanted`.

    In it, PyTorch raises RuntimeError for an operation that can't do so.
    """
    return _Deterministic() if wanted and device.type == "cuda" else nullcontext()


class _Deterministic(AbstractContextManager[None]):
    def __enter__(self) -> None:
        memory = cast(Any, torch.utils.deterministic)  # PyTorch's stubs lack what a property of the module is
        filled: bool = memory.fill_uninitialized_memory
        self.before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, filled
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        memory.fill_uninitialized_memory = False  # takes time, and nothing here reads such memory
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it PyTorch refuses to multiply

    def __exit__(self, *error: object) -> None:
        torch.use_deterministic_algorithms(self.before[0])
        torch.backends.cudnn.benchmark = self.before[1]
        cast(Any, torch.utils.deterministic).fill_uninitialized_memory = self.before[2]
