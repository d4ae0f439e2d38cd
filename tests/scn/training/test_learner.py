"""Steps of the learner: what they compute, and what they leave alone."""

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scn.config.params import DataConfig, EvaluateConfig, Experiment
from scn.config.run import RunConfig
from scn.config.train import LossConfig, TrainConfig
from scn.core.errors import UserError
from scn.data import Batch
from scn.networks import network_config
from scn.networks.build import build, fold
from scn.training.gradients import distance
from scn.training.learner import Average, Learner, deterministic, network_of
from scn.training.world import World

MODEL = {"name": "scn", "blocks": 2, "units": 6, "width": 2, "scales": 2}
L1 = LossConfig(l1=1)


def experiment(scale: int = 2, **settings: Any) -> Experiment:
    run = {key: value for key, value in settings.items() if key in RunConfig.model_fields}
    train = {key: value for key, value in settings.items() if key not in run}
    return Experiment(
        name="sr",
        task_name="sr",
        level=scale,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=network_config(MODEL, "model"),
        train=TrainConfig(batch_size=8, **train),
        run=RunConfig(**run),
        evaluate=EvaluateConfig(),
    )


def batch(seed: int = 0, scale: int = 2) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    input = torch.rand(8, 3, 12, 12, generator=draw)
    return Batch(input=input, target=torch.rand(8, 3, 12 * scale, 12 * scale, generator=draw))


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_step_is_adam_on_the_mean_absolute_error() -> None:
    learner = Learner(experiment(), World())
    network = build(experiment().architecture(), seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for seed in range(3):
        given = batch(seed)
        loss = F.l1_loss(network(given.input), given.target)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).norm().item()
        optimizer.step()
        outcome = learner.step(given, L1, 2e-3)
        assert outcome.loss == pytest.approx(loss.item(), rel=1e-5)
        assert outcome.grad_norm == pytest.approx(norm, rel=1e-4)
        assert not outcome.stopping
    for mine, theirs in zip(learner.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)


def test_parts_of_a_batch_add_up_to_it() -> None:
    whole, parts = (Learner(experiment(accumulate=n), World()) for n in (1, 4))
    a, b = (learner.step(batch(), L1, 1e-3) for learner in (whole, parts))
    assert b.loss == pytest.approx(a.loss, rel=1e-5)
    assert b.grad_norm == pytest.approx(a.grad_norm, rel=1e-4)


def test_a_gradient_that_is_too_long_is_cut_to_the_norm() -> None:
    free = Learner(experiment(), World())
    norm = free.step(batch(), L1, 1e-3).grad_norm
    cut = Learner(experiment(max_grad_norm=norm / 10), World())
    assert cut.step(batch(), L1, 1e-3).grad_norm == pytest.approx(norm)  # told as it was
    gradients = [p.grad for p in cut.network.parameters() if p.grad is not None]
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(norm / 10, rel=1e-3)
    loose = Learner(experiment(max_grad_norm=norm * 10), World())
    loose.step(batch(), L1, 1e-3)
    assert same(weights(loose), weights(free))


def test_the_average_follows_the_weights() -> None:
    learner = Learner(experiment(ema_decay=0.75), World())
    learner.step(batch(0), L1, 1e-2)
    first = weights(learner)
    learner.step(batch(1), L1, 1e-2)
    second = weights(learner)
    for name, averaged in learner.result.state_dict().items():
        torch.testing.assert_close(averaged, 0.75 * first[name] + 0.25 * second[name])
    kept = network_of(experiment(ema_decay=0.75), learner.state())
    assert same(kept.state_dict(), learner.result.state_dict())
    assert not same(kept.state_dict(), second)


def drifting(device: str) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(device)


def drift(network: nn.Module) -> None:
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1 if tensor.dtype == torch.long else torch.rand_like(tensor))


def test_the_average_has_the_bits_and_the_state_of_pytorchs() -> None:
    network = drifting("cpu")
    mine, theirs = Average(network, 0.999), AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    for _ in range(4):
        drift(network)
        mine.update_parameters(network)
        theirs.update_parameters(network)
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    assert same(mine.state_dict(), theirs.state_dict())


class Copies(TorchDispatchMode):
    """Counts operations that read a tensor of the CPU beside one of another device, or make one of another device."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        devices = {each.device.type for each in tree_leaves((args, result)) if isinstance(each, torch.Tensor)}
        self.count += len(devices) > 1
        return result


def test_the_average_copies_nothing_to_the_device() -> None:
    network = drifting("meta")
    average = Average(network, 0.999)
    with Copies() as copies:
        for _ in range(3):
            average.update_parameters(network)
    assert copies.count == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(value: float) -> None:
    learner = Learner(experiment(ema_decay=0.5, max_grad_norm=1.0), World())
    learner.step(batch(), L1, 1e-3)
    before, average = weights(learner), {k: v.clone() for k, v in learner.result.state_dict().items()}
    broken = batch(1)
    broken.input[3, 0, 5, 5] = value
    assert not learner.step(broken, L1, 1e-3).finite
    assert same(weights(learner), before)
    assert same(learner.result.state_dict(), average)


@pytest.mark.parametrize(
    "settings", [{}, {"ema_decay": 0.9, "max_grad_norm": 0.1, "accumulate": 2}, {"channels_last": False}]
)
def test_going_on_from_a_state_gives_the_same_bits(settings: dict[str, Any]) -> None:
    whole = Learner(experiment(**settings), World())
    for seed in range(4):
        whole.step(batch(seed), L1, 1e-3)
    halted = Learner(experiment(**settings), World())
    for seed in range(2):
        halted.step(batch(seed), L1, 1e-3)
    again = Learner(experiment(**settings), World())
    again.load(halted.state())
    for seed in range(2, 4):
        again.step(batch(seed), L1, 1e-3)
    assert same(weights(again), weights(whole))
    assert same(again.result.state_dict(), whole.result.state_dict())


@pytest.mark.parametrize("before", [True, False])
def test_going_on_in_another_layout_goes_on_with_the_same_moments(before: bool) -> None:
    halted = Learner(experiment(channels_last=before), World())
    halted.step(batch(0), L1, 1e-3)
    saved = deepcopy(halted.state())  # of which learners else share tensors
    now: Any = {"channels_last": not before}
    changed, fresh = Learner(experiment(**now), World()), Learner(experiment(**now), World())
    changed.load(deepcopy(saved))
    fresh.load({**saved, "optimizer": in_layout_of(fresh, saved["optimizer"])})
    for parameter, moments in changed.optimizer.state.items():
        assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == parameter.stride()
    for learner in (changed, fresh):
        learner.step(batch(1), L1, 1e-3)
    assert same(weights(changed), weights(fresh))


def in_layout_of(learner: Learner, optimizer: dict[str, Any]) -> dict[str, Any]:
    """The same state of Adam as it would have been saved by this learner."""
    state: dict[int, Any] = {}
    for number, parameter in enumerate(learner.network.parameters()):
        if number in optimizer["state"]:
            state[number] = {
                name: tensor if name == "step" else torch.zeros_like(parameter).copy_(tensor)
                for name, tensor in optimizer["state"][number].items()
            }
    return {**optimizer, "state": state}


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("wanted", [False, True])
def test_convolutions_are_timed_in_steps_on_a_gpu_unless_it_is_to_be_deterministic(kind: str, wanted: bool) -> None:
    learner, seen = Learner(experiment(deterministic=wanted), World()), list[bool]()
    compute = learner.gradients

    def gradients(*given: Any) -> list[Tensor]:
        seen.append(torch.backends.cudnn.benchmark)
        return compute(*given)

    learner.gradients, learner.world = gradients, World(device=torch.device(kind))  # type: ignore[assignment]
    learner.step(batch(), L1, 1e-3, meanwhile=lambda: seen.append(torch.backends.cudnn.benchmark))
    assert seen == [kind == "cuda" and not wanted, False]


def test_a_deterministic_run_fills_no_memory_that_is_written_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with deterministic(torch.device("cuda"), wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory  # PyTorch's own choice


def test_the_loss_is_a_sum_of_terms_with_weights() -> None:
    a, b = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.5, 0.0]])
    l1, smooth, mse = 1.25, (0.125 + 1.5) / 2, 2.125
    assert distance(LossConfig(l1=1), a, b).item() == pytest.approx(l1)
    assert distance(LossConfig(l1=1, smooth_l1=0.5), a, b).item() == pytest.approx(l1 + 0.5 * smooth)
    assert distance(LossConfig(l1=0.3, mse=2), a, b).item() == pytest.approx(0.3 * l1 + 2 * mse)


def test_weights_are_taken_where_they_fit() -> None:
    source = fold(build(experiment(2).architecture(), seed=5))
    learner = Learner(experiment(3, ema_decay=0.9), World())
    before = weights(learner)
    taken = learner.start_from(source.state_dict(), "sr-x2")
    assert same(learner.result.state_dict(), weights(learner))
    now = fold(learner.network).state_dict()
    fits = {name for name, tensor in source.state_dict().items() if tensor.shape == now[name].shape}
    assert taken == len(fits)
    assert {name.split(".")[0] for name in fits} == {"head", "trunk"}
    for name in fits:
        torch.testing.assert_close(now[name], source.state_dict()[name])
    assert any(not torch.equal(before[name], tensor) for name, tensor in now.items() if name in before)


def test_what_batch_normalisation_has_counted_is_taken_too() -> None:
    with_dncnn = experiment().model_copy(update={"model": network_config({"name": "dncnn"}, "here")})
    source = build(with_dncnn.architecture(), seed=5)
    for seed, module in enumerate(source.modules()):
        if isinstance(module, nn.BatchNorm2d):
            torch.manual_seed(seed)
            assert module.running_mean is not None
            module.running_mean.normal_()
    learner = Learner(with_dncnn, World())
    learner.start_from(source.state_dict(), "another")
    x = torch.rand(1, 3, 24, 24)
    torch.testing.assert_close(fold(learner.network).eval()(x), fold(source).eval()(x), atol=1e-4, rtol=0)


def test_weights_of_another_kind_are_refused() -> None:
    other = build({"name": "srcnn", "scale": 2}).state_dict()
    with pytest.raises(UserError, match=r"start_from: no weights of srcnn fit"):
        Learner(experiment(), World()).start_from(other, "srcnn")
