"""A step waits for its device once, the making of a batch never; weights are averaged in one operation.

All of it is counted on a CPU, in the calls and operations that a GPU would wait for.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from named_pictures import experiment, pictures
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from scn.config.params import DataConfig, EvaluateConfig, Experiment, Params
from scn.config.run import RunConfig
from scn.config.train import LossConfig, TrainConfig
from scn.data import Batch, Feed, open_feed
from scn.data.sampler import Part, Sampler
from scn.launch.stage import train_stage
from scn.networks import network_config
from scn.shards.manifest import Manifests
from scn.storage.local import FileStore
from scn.training.learner import Learner
from scn.training.world import World

Project = Callable[..., Params]
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


class PretendedGpu(TorchFunctionMode):
    """Says of every tensor that it is on a GPU, and notes of each copy there whether the host would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []
        self._pinned: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function == vars(torch._C.TensorBase)["device"].__get__:
            return torch.device("cuda")
        if function == Tensor.pin_memory:
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        if function == Tensor.to:
            pinned = any(args[0] is each for each in self._pinned)
            self.copies.append("goes on" if pinned and kwargs.get("non_blocking") else "waits")
            return args[0]
        kwargs.pop("device", None)
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
    made = Experiment(
        name="sr",
        task_name="sr",
        level=2,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=network_config({"name": "scn", "blocks": 2, "units": 6, "width": 2, "scales": 2}, "model"),
        train=TrainConfig(batch_size=4, **train),
        run=RunConfig(),
        evaluate=EvaluateConfig(),
    )
    return Learner(made, World())


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


def test_what_is_done_meanwhile_comes_before_the_wait() -> None:
    trained, before = learner(), list[list[str]]()
    with Waits() as waits:
        trained.step(batch(), trained.config.loss, 1e-3, meanwhile=lambda: before.append([*waits.calls]))
    assert before == [[]]
    assert waits.calls == ["tolist"]


@pytest.mark.parametrize(("task", "level"), [("sr", 2), ("dn", 25)])
def test_a_batch_is_made_without_a_wait(tmp_path: Path, put: Callable[..., Manifests], task: str, level: int) -> None:
    made, store = experiment(task, level), FileStore(tmp_path)
    manifest = put(store, made, pictures(4, task)).train
    with closing(open_feed(store, manifest, made, torch.device("cpu"), cache=None)) as feed:
        expected = [feed.batch(step) for step in range(3)]
        for mode in (waits := Waits(), gpu := PretendedGpu()):
            for step in range(3):
                with mode:
                    found = feed.batch(step)
                assert torch.equal(found.input, expected[step].input)
                assert torch.equal(found.target, expected[step].target)
    assert waits.calls == []
    assert set(gpu.copies) == {"goes on"}


def test_patches_are_drawn_while_the_step_before_is_computed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, making, draw, make = list[tuple[int, bool]](), list[int](), Sampler.step, Feed.batch

    def step(self: Sampler, step: int) -> list[Part]:
        drawn.append((step, bool(making)))
        return draw(self, step)

    def batch(self: Feed, step: int) -> Batch:
        making.append(step)
        made = make(self, step)
        making.clear()
        return made

    monkeypatch.setattr(Sampler, "step", step)
    monkeypatch.setattr(Feed, "batch", batch)
    train_stage(project("dn-s25", epochs=1, hold_epochs=0), "dn-s25", plain=True)
    assert len(drawn) > 5
    assert drawn == [(number, False) for number in range(len(drawn))]


def test_weights_are_changed_clipped_and_averaged_by_one_operation_each() -> None:
    trained = learner(ema_decay=0.9, max_grad_norm=0.1)
    for _ in range(2):  # the first average is a copy
        trained.step(batch(), trained.config.loss, 1e-3)
    with Operations() as operations:
        trained.step(batch(), trained.config.loss, 1e-3)
    aten = torch.ops.aten
    for once in (aten._fused_adam_.default, aten._foreach_mul_.Tensor, aten._foreach_lerp_.Scalar):
        assert operations.count[once] == 1
