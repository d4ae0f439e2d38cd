"""Rank and world size of a process without Ray: alone, or started by torchrun."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from files_found import files_found
from named_pictures import experiment

from scn.config.params import Params
from scn.core.errors import Stopped, UserError
from scn.launch.stage import train_stage
from scn.launch.world import plain_world, wants_gpu
from scn.storage.base import StoreError
from scn.training.world import World

Project = Callable[..., Params]
TORCHRUN = Path(sys.executable).with_name("torchrun")


@pytest.fixture
def as_torchrun_does(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """A function (rank, world_size) that sets the variables that torchrun sets."""

    def set_variables(rank: int, world_size: int) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        variables = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world_size}
        for name, value in {**variables, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, str(value))

    return set_variables


def test_alone_it_is_the_only_process() -> None:
    with plain_world(experiment(use_gpu=False)) as world:
        assert world == World(rank=0, world_size=1, device=torch.device("cpu"), threads=world.threads)
        assert not dist.is_initialized()


def test_more_threads_than_cpus_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scn.launch.world.cpu_count", lambda: 2)
    with plain_world(experiment(use_gpu=False, threads=2)):
        assert capsys.readouterr().out == ""
    with plain_world(experiment(use_gpu=False, threads=10_000)):
        assert capsys.readouterr().out.startswith("sr-2: train.threads is 10000 and a worker has 2 CPUs: steps take")


def test_a_process_of_torchrun_joins_the_others_and_leaves(as_torchrun_does: Callable[[int, int], None]) -> None:
    as_torchrun_does(0, 1)
    with plain_world(experiment(workers=4, use_gpu=False)) as world:
        assert (world.rank, world.world_size, world.device.type) == (0, 1, "cpu")
        assert dist.get_backend() == "gloo"
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("error", "leaves"),
    [(Stopped("asked"), True), (StoreError("away"), True), (UserError("wrong"), True), (RuntimeError("here"), False)],
    ids=repr,
)
def test_it_leaves_after_an_error_that_all_ranks_raise(
    as_torchrun_does: Callable[[int, int], None], error: Exception, leaves: bool
) -> None:
    """After one that this rank may raise alone, NCCL's way to leave would wait for those who wait for it."""
    as_torchrun_does(0, 1)
    try:
        with pytest.raises(type(error)), plain_world(experiment(use_gpu=False)):
            raise error
        assert dist.is_initialized() != leaves
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_patches_per_worker_are_those_of_the_processes_that_there_are(
    as_torchrun_does: Callable[[int, int], None],
) -> None:
    as_torchrun_does(0, 2)
    asked = experiment(workers=1, batch_per_worker=4, use_gpu=False)
    message = r"torchrun has started 2 processes: set run.workers to 2, or train.batch_size in its place"
    with pytest.raises(UserError, match=message), plain_world(asked):
        pass


@pytest.mark.parametrize(
    ("size", "train", "message"),
    [
        (
            3,
            {"batch_size": 16},
            r"train\.batch_size of sr-2: 16 can't be split evenly among 3 workers: set it to a",
        ),
        (4, {"batch_size": 8, "accumulate": 4}, r"evenly among 4 parts of each of 4 workers"),
    ],
)
def test_a_batch_that_can_not_be_split_is_said(
    as_torchrun_does: Callable[[int, int], None], size: int, train: dict[str, int], message: str
) -> None:
    as_torchrun_does(0, size)
    with pytest.raises(UserError, match=message), plain_world(experiment(use_gpu=False, **train)):
        pass


def test_variables_that_torchrun_did_not_set_are_said(
    as_torchrun_does: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_torchrun_does(0, 2)
    monkeypatch.delenv("MASTER_ADDR")
    with (
        pytest.raises(
            UserError, match=r"Process 0 of 2 on \S+ did not find the others \(.*MASTER_ADDR.*\): start all of"
        ),
        plain_world(experiment(use_gpu=False)),
    ):
        pass


def test_some_gpus_but_too_few_are_an_error_and_no_run_on_cpus_in_silence() -> None:
    auto, asked, never = (experiment(use_gpu=value).run for value in ("auto", True, False))
    assert wants_gpu(auto, 2, 2)
    assert wants_gpu(asked, 3, 2)
    assert not wants_gpu(auto, 0, 2)
    assert not wants_gpu(never, 1, 2)
    with pytest.raises(
        UserError, match=r"PyTorch can use 1 of the 2 GPUs that 2 workers need: .* run\.use_gpu to false"
    ):
        wants_gpu(auto, 1, 2)
    with pytest.raises(UserError, match=r"run\.use_gpu is true but PyTorch can use 1 GPUs for 2 workers"):
        wants_gpu(asked, 1, 2)


def test_a_run_may_go_on_with_the_numbers_of_workers_that_split_its_batch() -> None:
    assert experiment(workers=4).worker_counts() == [4]
    assert experiment(workers=8, min_workers=1, batch_size=24).worker_counts() == [8, 6, 4, 3, 2, 1]
    assert experiment(workers=8, min_workers=2, batch_size=24, lanes=8).worker_counts() == [8, 4, 2]
    with pytest.raises(UserError, match=r"run\.min_workers of \S+: 3 is more than run\.workers, 2"):
        experiment(workers=2, min_workers=3)


@pytest.mark.integration
def test_2_processes_see_the_batches_of_one(project: Project, tmp_path: Path) -> None:
    """The losses agree to rounding, which would not be so if a patch were missing or seen twice."""
    losses = {}
    for size in (1, 2):
        params = project("sr-x2", root=tmp_path / str(size))
        if size == 1:
            train_stage(params, "sr-x2", plain=True)
        else:
            torchrun = [str(TORCHRUN), "--standalone", "--nproc-per-node", str(size), "--no-python"]
            scn = [sys.executable, "-m", "scn.cli", "train", "-e", "sr-x2", "--plain", "--params", str(params.path)]
            result = subprocess.run([*torchrun, *scn], capture_output=True, text=True, env={**os.environ})
            assert result.returncode == 0, result.stderr
            assert result.stdout.count("sr-x2: 30 steps in") == 1  # one of them speaks
        table = (params.root / "curves/sr-x2/plots/metrics/loss.tsv").read_text().splitlines()
        losses[size] = torch.tensor([float(line.split("\t")[1]) for line in table[1:]])
        assert len(losses[size]) == 15
        assert [path.name for path in (params.root / "models/sr-x2").glob("*.safetensors")] == ["model.safetensors"]
    torch.testing.assert_close(losses[2], losses[1], rtol=1e-4, atol=0)


@pytest.mark.integration
def test_a_mistake_is_a_sentence_of_every_process_and_no_traceback_of_any(project: Project) -> None:
    params = project("sr-x2")
    torchrun = [str(TORCHRUN), "--standalone", "--nproc-per-node", "2", "--no-python", sys.executable, "-m", "scn.cli"]
    train = ["train", "-e", "sr-x2", "--plain", "--resume", "--params", str(params.path)]
    result = subprocess.run([*torchrun, *train], capture_output=True, text=True)
    assert result.returncode == 1
    sentence = "scn: sr-x2 has no unfinished run of this configuration to go on with: leave --resume out."
    assert sentence in result.stderr
    assert "[rank1]" not in result.stderr
    assert "gloo" not in result.stderr


@pytest.mark.integration
def test_with_lanes_1_2_and_4_processes_give_the_same_bits_and_may_change_on_the_way(
    project: Project, tmp_path: Path
) -> None:
    """Four processes are killed after a checkpoint, and two go on; images are dealt, one in memory and one ahead."""
    settings = {"lanes": 4, "epochs": 2, "ema_decay": 0.9, "max_grad_norm": 0.5}
    settings |= {"images": 9, "min_shards": 9, "group_mib": 4 * 64 * 80 / 2**20}
    alone = project("dn-s25", root=tmp_path / "alone", **settings)
    train_stage(alone, "dn-s25", plain=True)

    params = project("dn-s25", root=tmp_path / "several", **settings)
    scn = [sys.executable, "-m", "scn.cli", "train", "-e", "dn-s25", "--plain", "--params", str(params.path)]
    torchrun = [str(TORCHRUN), "--standalone", "--no-python", "--nproc-per-node"]
    with subprocess.Popen([*torchrun, "4", *scn], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as four:
        while not files_found(params.root / ".scn/runs", "step-*"):
            assert four.poll() is None, four.communicate()[0]
            time.sleep(0.01)
        started = psutil.Process(four.pid).children(recursive=True)
        four.kill()
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    assert not (params.root / "models").exists()
    two = subprocess.run([*torchrun, "2", *scn], capture_output=True, text=True)
    assert two.returncode == 0, two.stderr
    assert re.search(r"dn-s25: trains on 2 x CPU, \w+, 1 thread each", two.stdout)
    assert re.search(r"dn-s25: goes on from step \d+ of 90", two.stdout)
    mine, theirs = ((root / "models/dn-s25/model.safetensors").read_bytes() for root in (params.root, alone.root))
    assert mine == theirs


def test_a_run_goes_on_with_the_threads_that_it_began_with(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = project("sr-x2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with pytest.raises(Stopped):
        train_stage(params, "sr-x2", plain=True, minutes=0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    train_stage(params, "sr-x2", plain=True)
    assert len(re.findall(r"sr-x2: trains on 1 x CPU, \w+, 3 threads[;\n]", capsys.readouterr().out)) == 2
    (made_by,) = json.loads((params.root / "models/sr-x2/config.json").read_text())["made_by"]
    assert made_by["versions"]["device"].endswith(", 3 threads")
    assert torch.get_num_threads() != 3


def test_a_run_goes_on_uncompiled_as_it_began_and_says_so(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    params = project("sr-x2", compile=False)
    with pytest.raises(Stopped):
        train_stage(params, "sr-x2", plain=True, minutes=0)
    train_stage(project("sr-x2", compile=True), "sr-x2", plain=True)
    told = re.findall(r"sr-x2: trains on .*; (.*)", capsys.readouterr().out)
    as_before = "not compiled, as it began: run.compile decides for runs that begin"
    assert told == ["not compiled: run.compile says so", as_before]
