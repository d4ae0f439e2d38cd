"""Training on a GPU: run by `pytest -m gpu` where there is one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from scn.config.params import Params
from scn.launch.stage import train_stage
from scn.storage import open_store

Project = Callable[..., Params]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


def weights(params: Params, name: str) -> bytes:
    return (params.root / "models" / name / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["sr-x2", "dn-s25"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_deterministic_runs_are_the_same_bits(project: Project, name: str, precision: str) -> None:
    params = project(name, deterministic=True, precision=precision, ema_decay=0.9, max_grad_norm=1.0, use_gpu=True)
    results = []
    for _ in range(2):
        train_stage(params, name, plain=True)
        results.append(weights(params, name))
    assert results[0] == results[1]
    assert open_store(params.storage.url, params.root).list("runs/") == []


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"late_loss": {"mse": 1.0}, "hold_epochs": 1}])
def test_a_recorded_step_gives_the_bits_of_one_that_is_not(project: Project, settings: dict[str, Any]) -> None:
    results = []
    for recorded in (True, False):
        params = project(
            "sr-x2", deterministic=True, precision="bfloat16", cuda_graphs=recorded, use_gpu=True, epochs=3, **settings
        )
        train_stage(params, "sr-x2", plain=True, resume=False)
        results.append(weights(params, "sr-x2"))
    assert results[0] == results[1]


@pytest.mark.parametrize("group_mib", [None, 0.5])
def test_compiled_training_learns(project: Project, group_mib: float | None) -> None:
    params = project("sr-x2", compile=True, precision="bfloat16", group_mib=group_mib, epochs=6, learning_rate=3e-3)
    train_stage(params, "sr-x2", plain=True)
    loss = (params.root / "curves/sr-x2/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    values = [float(line.split("\t")[1]) for line in loss]
    assert sum(values[-5:]) < 0.5 * sum(values[:5])
