"""The same loop under Ray Train: the same weights, whoever starts it, and whichever workers are killed."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from scn.config.params import Params
from scn.core.errors import Stopped, UserError
from scn.core.ray import stop_ray
from scn.launch.stage import train_stage
from scn.shards.manifest import training_manifest
from scn.storage import open_store
from scn.storage.base import Store
from scn.training.callbacks import Silent
from scn.training.learner import network_of
from scn.training.loop import Run, train
from scn.training.world import World

Project = Callable[..., Params]
TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2", "--no-python"]
pytestmark = [
    pytest.mark.integration,
    # Ray leaves files and sockets of its own processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


def weights(params: Params, name: str) -> bytes:
    return (params.root / "models" / name / "model.safetensors").read_bytes()


def test_one_worker_is_the_plain_loop_bit_for_bit(project: Project) -> None:
    params = project("sr-x2")
    train_stage(params, "sr-x2", plain=True)
    expected = weights(params, "sr-x2")
    shutil.rmtree(params.root / "models")  # what is compared is what Ray's worker has trained
    train_stage(params, "sr-x2")
    assert weights(params, "sr-x2") == expected


@pytest.mark.cluster
@pytest.mark.parametrize("storage", ["file", "s3"])
def test_two_workers_of_which_some_are_killed_end_with_the_bits_of_torchrun(
    project: Project, tmp_path: Path, request: pytest.FixtureRequest, storage: str
) -> None:
    """Workers get a SIGKILL, at random steps; torchrun's two processes are left in peace."""
    train, times = {"workers": 2, "epochs": 10, "checkpoint_every": 10}, 2 if storage == "file" else 1
    undisturbed = project("sr-x2", root=tmp_path / "undisturbed", **train)
    scn = [sys.executable, "-m", "scn.cli", "train", "-e", "sr-x2", "--plain", "--params", str(undisturbed.path)]
    result = subprocess.run([*TORCHRUN, *scn], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

    url = "file://store" if storage == "file" else f"s3://{request.getfixturevalue('s3_bucket')}/prefix"
    params = project("sr-x2", root=tmp_path / "killed", storage=url, **train)
    with killer(open_store(params.storage.url, params.root), times=times) as killed:
        train_stage(params, "sr-x2")
    assert len(killed) == times
    assert weights(params, "sr-x2") == weights(undisturbed, "sr-x2")


@contextlib.contextmanager
def killer(store: Store, times: int) -> Iterator[list[int]]:
    """Kills a worker of this process `times` times, each time after another checkpoint and a little while."""
    killed: list[int] = []
    over = threading.Event()
    luck = random.Random(seed := random.randrange(2**32))
    print(f"the killer's seed is {seed}")

    def workers() -> Iterator[int]:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "RayTrainWorker" in " ".join(child.cmdline()) and child.pid not in killed:
                    yield child.pid

    def newest() -> int:
        return max(
            (int(found[1]) for key in store.list("runs/") if (found := re.search(r"step-(\d+)", key))), default=0
        )

    def run() -> None:
        seen = 0
        while len(killed) < times and not over.wait(0.02):
            if (step := newest()) > seen and (found := list(workers())):
                time.sleep(luck.uniform(0, 0.3))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid := luck.choice(found), signal.SIGKILL)
                    killed.append(pid)
                    seen = step

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_what_a_worker_can_not_do_is_one_sentence(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    params = project("sr-x2", learning_rate=1e30, workers=2)
    with pytest.raises(UserError, match=r"loss of sr-x2 is \S+ and its gradient \S+ in step \d+") as error:
        train_stage(params, "sr-x2")
    assert "\n" not in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.cluster
def test_a_store_that_fails_too_long_restarts_the_workers(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The shards can't be read until the first worker has given up; the user is told of it while it lasts."""
    params = project("sr-x2", store_timeout_s=4)
    shards = [path for path in (params.root / "store/shards").rglob("000000.tar") if "made" not in path.parts]
    for shard in shards:
        shard.rename(shard.with_suffix(".kept"))
        shard.symlink_to(shard)  # an error of the disk, not a missing file
    over = threading.Event()

    def workers() -> set[int]:
        found = set()
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                found |= {child.pid} if "RayTrainWorker" in " ".join(child.cmdline()) else set()
        return found

    def mend() -> None:
        while not (first := workers()) and not over.wait(0.1):
            pass
        while all(map(psutil.pid_exists, first)) and not over.wait(0.1):
            pass
        for shard in shards:
            shard.with_suffix(".kept").replace(shard)

    thread = threading.Thread(target=mend)
    thread.start()
    try:
        train_stage(params, "sr-x2")
    finally:
        over.set()
        thread.join()
    assert (params.root / "models/sr-x2/model.safetensors").is_file()
    assert "sr-x2: The store fails (" in capsys.readouterr().err


@contextlib.contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes with a CPU each: the cluster, and the node that may be lost."""
    import ray
    from ray.cluster_utils import Cluster

    stop_ray()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(num_cpus=1)
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextlib.contextmanager
def training(params: Params, address: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], str]]]:
    """`scn train` on a cluster, and a function that waits for a line of its output and returns all up to there."""
    command = [sys.executable, "-m", "scn.cli", "train", "-e", "sr-x2", "--params", str(params.path)]
    environment = {**os.environ, "RAY_ADDRESS": address}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        told = ""

        def wait_for(line: str) -> str:
            nonlocal told
            for each in process.stdout or ():
                told += each
                if re.search(line, each):
                    return told
            raise AssertionError(f"'{line}' was not told, but:\n{told}")

        try:
            yield process, wait_for
        finally:
            process.kill()


@pytest.mark.cluster
def test_a_run_shrinks_when_a_node_is_lost_and_grows_when_one_comes(project: Project) -> None:
    params = project("sr-x2", lanes=2, workers=2, min_workers=1, cluster_timeout_s=2, epochs=4000, checkpoint_every=5)
    store = open_store(params.storage.url, params.root)
    with two_nodes() as (cluster, node), training(params, cluster.address) as (process, wait_for):
        wait_for("trains on 2 x CPU")
        while not any("step-" in key for key in store.list("runs/")):
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        told = wait_for("trains on 1 x CPU")
        assert re.search(r"^sr-x2: rank \d on \S+ (died|failed \(.+\)); starts the workers again$", told, re.M)
        assert "sr-x2: waits 2 s at most for 2 CPUs for 2 workers, the cluster has 1" in told
        cluster.add_node(num_cpus=1)
        wait_for("there is room for more workers")
        told = wait_for("trains on 2 x CPU")
        process.send_signal(signal.SIGTERM)
        told = wait_for(r"stopped after step \d+ of 60000 \(SIGTERM\)")
        assert all(line.startswith("sr-x2: ") for line in told.splitlines()), told

    several = run_of(params)
    found = several.checkpoints.load()
    assert found
    steps, state = found
    alone = run_of(params, root=params.root / "alone")
    calls = iter(range(steps))
    with pytest.raises(Stopped):
        train(alone, World(), Silent(), lambda: "here" if next(calls) == steps - 1 else "")
    found = alone.checkpoints.load()
    assert found
    assert found[0] == steps
    expected = network_of(several.experiment, found[1]).state_dict()
    for name, tensor in network_of(several.experiment, state).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def run_of(params: Params, root: Path | None = None) -> Run:
    store = open_store(params.storage.url, params.root)
    if root:
        shutil.copytree(params.root / "store/shards", root / "store/shards")
        store = open_store("file://store", root)
    manifest = training_manifest(params, "sr-x2")
    return Run(
        experiment=params.experiment("sr-x2"), manifest=manifest, evaluation=None, store=store, root=root or params.root
    )


@pytest.mark.cluster
def test_a_node_that_is_lost_and_does_not_come_back_is_one_sentence(project: Project) -> None:
    """Ray Train by itself would wait for it for ever."""
    params = project("sr-x2", workers=2, cluster_timeout_s=2, epochs=4000, checkpoint_every=5)
    with two_nodes() as (cluster, node), training(params, cluster.address) as (process, wait_for):
        wait_for("trains on 2 x CPU")
        cluster.remove_node(node, allow_graceful=False)
        told = wait_for("sr-x2 was interrupted and needs 2 CPUs for 2 workers, the cluster has 1: ")
        assert process.wait() == 1
        assert "Traceback" not in told
