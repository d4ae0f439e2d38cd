"""A step reads from its device once, copies nothing between host and device, and averages weights in one operation.

All of it is counted on a CPU, in the calls and operations that a GPU would wait for.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from scn.config.params import DataConfig, EvaluateConfig, Experiment
from scn.config.run import RunConfig
from scn.config.train import LossConfig, TrainConfig
from scn.data import Batch
from scn.networks import network_config
from scn.training.learner import Learner
from scn.training.world import World

READS = {"tolist", "item", "numpy", "nonzero", "masked_select", "__bool__", "__float__", "__int__", "__index__"}
"""Methods that wait until a tensor has been computed."""
COPIES = {"cpu", "cuda", "pin_memory"}
"""Methods that copy between the host and a device; so does `to` with another device than the tensor's."""


class Waits(TorchFunctionMode):
    """Notes the calls in which the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.device | str)]
        moved = name == "to" and any(torch.device(device) != args[0].device for device in given)
        if name in READS | COPIES or moved:
            self.calls.append(name)
        return function(*args, **kwargs)


class Operations(TorchDispatchMode):
    """Counts the operations that are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[Any] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count[function] += 1
        return function(*args, **(kwargs or {}))


def learner(**train: Any) -> Learner:
    experiment = Experiment(
        name="sr",
        task_name="sr",
        level=2,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=network_config({"name": "scn", "blocks": 2, "units": 6, "width": 2, "scales": 2}, "model"),
        train=TrainConfig(batch_size=4, **train),
        run=RunConfig(),
        evaluate=EvaluateConfig(),
    )
    return Learner(experiment, World())


def batch() -> Batch:
    return Batch(input=torch.rand(4, 3, 12, 12), target=torch.rand(4, 3, 24, 24))


def test_a_call_that_waits_is_noted() -> None:
    number = torch.ones(1)
    with Waits() as waits:
        assert number.item() + float(number) + number.tolist()[0] == 3
        assert isinstance(number.to("cpu").to(torch.float64).cpu().to(device="meta"), Tensor)
    assert waits.calls == ["item", "__float__", "tolist", "cpu", "to"]


@pytest.mark.parametrize("train", [{}, {"max_grad_norm": 0.1}, {"loss": LossConfig(l1=1, mse=1)}])
def test_a_step_waits_once(train: dict[str, Any]) -> None:
    trained = learner(**train)
    for _ in range(2):
        given = batch()
        with Waits() as waits:
            assert trained.step(given, trained.config.loss, 1e-3).finite
        assert waits.calls == ["tolist"]


def test_weights_are_changed_clipped_and_averaged_by_one_operation_each() -> None:
    trained = learner(ema_decay=0.9, max_grad_norm=0.1)
    for _ in range(2):  # the first average is a copy
        trained.step(batch(), trained.config.loss, 1e-3)
    with Operations() as operations:
        trained.step(batch(), trained.config.loss, 1e-3)
    aten = torch.ops.aten
    for once in (aten._fused_adam_.default, aten._foreach_mul_.Tensor, aten._foreach_lerp_.Scalar):
        assert operations.count[once] == 1
