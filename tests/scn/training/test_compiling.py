"""A network is compiled where the run is long enough, and the reason is told."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from scn.config.params import DataConfig, EvaluateConfig, Experiment, load_params
from scn.config.run import RunConfig
from scn.config.train import TrainConfig
from scn.networks import network_config
from scn.training.arithmetic import chosen
from scn.training.compiling import compiles, missing, steps_to_pay
from scn.training.world import World

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A processor with AVX-512 and AMX, on a machine with a C++ compiler and Python's headers, in a folder."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr("scn.inference.precision.has_bfloat16", lambda device: True)
    monkeypatch.setattr("scn.training.compiling.has_amx", lambda: True)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    (tmp_path / "Python.h").touch()
    compiler = tmp_path / "g++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return tmp_path


def experiment(run: dict[str, Any] | None = None, blocks: int = 2, **train: Any) -> Experiment:
    return Experiment(
        name="sr-x2",
        task_name="sr",
        level=2,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=network_config({"name": "scn", "blocks": blocks, "units": 6, "scales": 2}, "model"),
        train=TrainConfig(**train),
        run=RunConfig(**(run or {})),
        evaluate=EvaluateConfig(),
    )


def test_a_run_is_compiled_from_the_step_on_that_pays() -> None:
    least = steps_to_pay(experiment(), "float32")
    assert 100 < least < 100_000
    long, short = int(least) + 1, int(least)
    assert compiles(experiment(), long, CPU) == (True, f"compiled, as {long:,} steps pay for it")
    assert compiles(experiment(), short, CPU) == (
        False,
        f"not compiled: {short:,} steps are over before it would pay",
    )


def test_larger_batches_pay_sooner_and_faster_processors_later() -> None:
    least = steps_to_pay(experiment(), "float32")
    assert steps_to_pay(experiment(batch_size=32), "float32") == pytest.approx(least / 2)
    assert steps_to_pay(experiment(patch_size=96), "float32") < least / 3
    assert steps_to_pay(experiment(), "bfloat16") > least
    between = int(least) + 1
    assert compiles(experiment(precision="float32"), between, CPU)[0]
    assert not compiles(experiment(precision="bfloat16"), between, CPU)[0]


def test_the_choice_depends_on_no_worker() -> None:
    steps = int(steps_to_pay(experiment(), "float32")) + 1
    assert compiles(experiment({"workers": 4, "accumulate": 2}), steps, CPU)[0]


def test_the_demo_stays_as_it_is() -> None:
    demo = load_params(ROOT / "params.yaml").experiment("sr-x2")
    assert demo.run.compile == "auto"
    assert compiles(demo, demo.train.steps(10), CPU) == (
        False,
        "not compiled: 2,000 steps are over before it would pay",
    )


@pytest.mark.parametrize(("file", "told"), [("g++", "C++ compiler"), ("Python.h", "Python.h")])
def test_what_is_missing_is_named(processor: Path, file: str, told: str) -> None:
    assert missing(CPU) == ""
    (processor / file).unlink()
    assert missing(CPU).startswith(told)
    how, why = chosen(experiment(), World(), 10**7)
    assert not how.compiled
    assert why.startswith(
        f"not compiled, though 10,000,000 steps would pay for it: {socket.gethostname()} has no {told}"
    )


def test_where_it_gains_nothing_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert compiles(experiment(), 10**7, cuda) == (False, "not compiled: a recorded step is faster")
    assert not compiles(experiment({"cuda_graphs": False}), 10**7, cuda)[0]
    monkeypatch.setattr("scn.training.compiling.has_amx", lambda: False)
    compiled, why = compiles(experiment(precision="bfloat16"), 10**7, CPU)
    assert not compiled
    assert "AMX" in why
    assert compiles(experiment(precision="float32"), 10**7, CPU)[0]
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    compiled, why = compiles(experiment(), 10**7, CPU)
    assert not compiled
    assert "AVX2" in why


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_the_user_s_own_choice_goes_before(device: torch.device) -> None:
    assert compiles(experiment({"compile": True}), 1, device) == (True, "compiled: run.compile says so")
    assert compiles(experiment({"compile": False}), 10**7, device) == (False, "not compiled: run.compile says so")
